"""git, as a subprocess that knows nothing of the user's own settings."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from agentloop.contracts.errors import VersioningFailed

_CONFIG = {
    "user.name": "Agent Loop",
    "user.email": "agentloop@localhost",
    "commit.gpgsign": "false",
    "tag.gpgsign": "false",
    "core.hooksPath": os.devnull,
    "gc.auto": "0",
}


class GitRepo:
    """The repository at ``root``.

    ``lock`` is the descriptor of the lock that the caller holds. git inherits it, so that nobody
    else comes in while a git runs whose parent was killed.
    """

    def __init__(self, root: Path, lock: int | None = None) -> None:
        self._root = root
        self._lock = lock

    def init(self) -> None:
        """Make the repository, or go on where a killed run stopped making it."""
        self._root.mkdir(parents=True, exist_ok=True)
        self.run("init", "-q", "-b", "main")
        for key, value in _CONFIG.items():
            self.run("config", key, value)

    def unlock(self) -> None:
        """Remove what a killed git left, or DVC's own (dulwich, which locks objects too); the
        caller's lock says that none runs."""
        for path in (self._root / ".git").rglob("*.lock"):
            path.unlink()

    def tag_commit(self, tag: str) -> str:
        """The commit that ``tag`` names; empty if there is no such tag, or no repository."""
        if not (self._root / ".git").is_dir():
            return ""
        return self.run("for-each-ref", "--format=%(objectname)", f"refs/tags/{tag}")

    def commit_titled(self, subject: str) -> str:
        """The newest commit with that subject; empty if there is none."""
        if not self.run("for-each-ref", "--count=1", "refs/heads"):
            return ""
        for line in self.run("log", "--format=%H %s", "-F", f"--grep={subject}").splitlines():
            commit, _, found = line.partition(" ")
            if found == subject:
                return commit
        return ""

    def show(self, revision: str, path: str) -> str | None:
        """A file of a commit; None if it has none of that name."""
        if not self.run("ls-tree", "--name-only", revision, "--", path):
            return None
        return self.run("show", f"{revision}:{path}", strip=False)

    def run(self, *arguments: str, strip: bool = True) -> str:
        """Its output. Raises VersioningFailed with what git said last."""
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
                pass_fds=() if self._lock is None else (self._lock,),
            )
        except FileNotFoundError:
            raise VersioningFailed("git is not installed", next_step="install git") from None
        except subprocess.CalledProcessError as error:
            told = error.stderr.strip().splitlines() or [f"exit status {error.returncode}"]
            raise VersioningFailed(f"git {arguments[0]}: {told[-1]}") from error
        return done.stdout.strip() if strip else done.stdout
