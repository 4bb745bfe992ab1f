"""A git repository with DVC in it: one commit, tag and push a dataset version.

repo/datasets/<name>/              the rows, tracked by DVC
repo/datasets/<name>.dvc           DVC's pointer to them, in git
repo/datasets/<name>.schema.json   in git
repo/datasets/<name>.profile.json  in git
remote/                            DVC's remote, a folder by default
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agentloop.contracts.errors import VersioningFailed

_GIT_CONFIG = {
    "user.name": "Agent Loop",
    "user.email": "agentloop@localhost",
    "commit.gpgsign": "false",
    "tag.gpgsign": "false",
    "core.hooksPath": os.devnull,
    "gc.auto": "0",
}


class DvcRepo:
    """The repository under ``data_dir``. The caller holds the lock of ``data_dir``.

    DVC runs in this process: each start of its command line takes more than a second.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.resolve()
        self._root = self._data_dir / "repo"

    def record(self, name: str, version: str, folder: Path) -> str:
        """The git commit that pins the rows in ``folder`` as ``version``; made once a version.

        ``folder`` also holds ``schema.json`` and ``profile.json``. Rows are pushed before they are
        committed, and committed before they are tagged, so that a tag means everything is there.
        Raises VersioningFailed, OSError.
        """
        self._prepare()
        tag = f"{name}/{version}"
        known = self._git("tag", "--list", tag)
        if known:
            return self._git("rev-list", "-n", "1", tag)
        self._mend()
        self._pending.touch()
        self._checkout(name, folder)
        self._track(f"datasets/{name}")
        tracked = [f"datasets/{name}{end}" for end in (".dvc", ".schema.json", ".profile.json")]
        self._git("add", "--", ".dvc", ".dvcignore", "datasets/.gitignore", *tracked)
        if self._git("status", "--porcelain", "--untracked-files=no"):
            self._git("commit", "-q", "-m", f"{name} {version}")
        self._git("tag", tag)
        self._pending.unlink()
        return self._git("rev-parse", "HEAD")

    @property
    def _pending(self) -> Path:
        """Is there while a version is being recorded, and after that was cut short."""
        return self._root / ".git" / "agentloop-pending"

    def _mend(self) -> None:
        """After a recording that was cut short, drop objects that are not what their name says.

        DVC writes some objects in place, and takes one that exists for one that is whole.
        """
        if not self._pending.exists():
            return
        shutil.rmtree(self._data_dir / "dvc-site", ignore_errors=True)
        for store in (self._root / ".dvc" / "cache", self._data_dir / "remote"):
            for path in (store / "files" / "md5").glob("*/*"):
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "md5").hexdigest()
                if digest != path.parent.name + path.name.removesuffix(".dir"):
                    path.unlink()

    def _prepare(self) -> None:
        """Make the repository, or go on where a killed run stopped making it."""
        self._root.mkdir(parents=True, exist_ok=True)
        for left_over in (".git/index.lock", ".git/HEAD.lock", ".dvc/tmp/rwlock"):
            (self._root / left_over).unlink(missing_ok=True)
        ready = self._root / ".git" / "agentloop-ready"
        if ready.exists():
            return
        self._git("init", "-q", "-b", "main")
        for key, value in _GIT_CONFIG.items():
            self._git("config", key, value)
        self._init_dvc()
        ready.touch()

    def _init_dvc(self) -> None:
        from dvc.repo import Repo

        site = str(self._data_dir / "dvc-site")

        def run() -> None:
            with (
                _variable("DVC_SITE_CACHE_DIR", site),  # init opens it before there is a setting
                Repo.init(str(self._root), force=True) as repo,
                repo.config.edit("repo") as config,
            ):
                config["core"]["analytics"] = False
                config["core"]["check_update"] = False
                config["core"]["remote"] = "local"
                config["core"]["site_cache_dir"] = site
                config["cache"]["type"] = "reflink,hardlink,copy"
                config["remote"]["local"] = {"url": str(self._data_dir / "remote")}

        _quietly(run)

    def _checkout(self, name: str, folder: Path) -> None:
        """Put a version's files where DVC and git track them."""
        rows = self._root / "datasets" / name
        shutil.rmtree(rows, ignore_errors=True)
        rows.mkdir(parents=True)
        for part in sorted(folder.glob("part-*.parquet")):
            shutil.copyfile(part, rows / part.name)
        for noun in ("schema", "profile"):
            shutil.copyfile(folder / f"{noun}.json", rows.with_name(f"{name}.{noun}.json"))

    def _track(self, path: str) -> None:
        from dvc.repo import Repo

        def run() -> None:
            with Repo(str(self._root)) as repo:
                repo.add([str(self._root / path)])
                repo.push(targets=[str(self._root / f"{path}.dvc")])

        _quietly(run)

    def _git(self, *arguments: str) -> str:
        """Without the user's own configuration, hooks or a surrounding git command's variables."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        try:
            done = subprocess.run(
                ["git", "-C", str(self._root), *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=True,
            )
        except FileNotFoundError:
            raise VersioningFailed("git is not installed", next_step="install git") from None
        except subprocess.CalledProcessError as error:
            told = error.stderr.strip().splitlines() or [f"exit status {error.returncode}"]
            raise VersioningFailed(f"git {arguments[0]}: {told[-1]}") from error
        return done.stdout.strip()


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for a moment."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _quietly(run: Callable[[], None]) -> None:
    """DVC without its remarks, hints and progress bars; its errors as VersioningFailed."""
    logger = logging.getLogger("dvc")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        run()
    except Exception as error:
        # DVC lets through the errors of its parts: dvc_objects, dvc_data, its SQLite caches.
        if not type(error).__module__.startswith("dvc") and not isinstance(error, sqlite3.Error):
            raise
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise VersioningFailed(f"DVC: {told[0]}") from error
    finally:
        logger.setLevel(level)
