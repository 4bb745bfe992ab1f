"""Version a folder with git and DVC, as the scripts do: a commit, and a push to a local remote."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_QUIET = {"DVC_NO_ANALYTICS": "1", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
_AUTHOR = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost")


def version_folder(repository: Path, name: str) -> str:
    """Add ``repository/name`` to DVC; the commit that points to it."""
    os.environ.update(_QUIET)
    # Imported here, and so measured: the pipeline imports it while it works, too.
    from dvc.repo import Repo

    _git(repository, "init", "--quiet")
    with Repo.init(str(repository)) as repo:
        with repo.config.edit() as config:
            config["core"].update(analytics=False, check_update=False, remote="local")
            config["remote"]["local"] = {"url": str(repository.parent / "remote")}
        repo.add(str(repository / name))
        _git(repository, "add", "--all")
        _git(repository, *_AUTHOR, "commit", "--quiet", "-m", f"Add {name}")
        repo.push()
    return _git(repository, "rev-parse", "HEAD")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
