"""The state folder: every path that Agent Loop writes, its lock, and its room on disk."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from agentloop.contracts import DiskFull, StateLocked

DEFAULT_HOME = ".agentloop"
NEEDED_MB = 500
# A unix socket's path ends at 107 characters, and Ray adds about 65 to its temporary folder.
LONGEST_RAY_FOLDER = 40


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Where one user's loops live. ``root`` is absolute.

    ``database_url`` (``postgresql://…``) replaces the SQLite file of durable runs; the database
    is this folder's alone, because interrupted runs in it are gone on with.
    """

    root: Path
    database_url: str = ""

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.root / 'mlflow' / 'mlflow.db'}"

    @property
    def workflow_url(self) -> str:
        return self.database_url or f"sqlite:///{self.root / 'workflows.db'}"

    @property
    def cluster_record(self) -> Path:
        return self.root / "cluster.json"

    @property
    def cluster_log(self) -> Path:
        return self.root / "logs" / "ray-start.log"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    def last_run(self, model: str) -> Path:
        """The record of the last finished run of ``model``."""
        return self.root / "runs" / f"{model}.json"

    def example_request(self, model: str) -> Path:
        """A ready inference request, made of one held-out row."""
        return self.root / "requests" / f"{model}.json"

    def example_row(self, model: str) -> Path:
        """The same row as a JSON object of column: value."""
        return self.root / "requests" / f"{model}.row.json"

    @property
    def ray_folder(self) -> Path:
        """Ray's temporary folder: in here where socket paths allow, else a short private one."""
        inside = self.root / "ray"
        if len(str(inside)) <= LONGEST_RAY_FOLDER:
            return inside
        digest = hashlib.sha256(str(self.root).encode()).hexdigest()[:8]
        return Path(tempfile.gettempdir()) / f"agentloop-{os.getuid()}-{digest}"

    def create(self) -> None:
        """Make the folder. Raises DiskFull below ``NEEDED_MB``."""
        parent = next(p for p in (self.root, *self.root.parents) if p.exists())
        free_mb = shutil.disk_usage(parent).free // 1_000_000
        if free_mb < NEEDED_MB:
            raise DiskFull(str(self.root), NEEDED_MB, int(free_mb))
        for name in ("", "mlflow", "logs", "runs", "requests", "reports", "data"):
            (self.root / name).mkdir(parents=True, exist_ok=True, mode=0o700)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one run. Raises StateLocked while another process holds it."""
        path = self.root / "run.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 20, 0).decode() or "0"
                raise StateLocked(str(self.root), int(holder)) from None
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(descriptor)


def open_home(setting: str | None, cwd: Path, database_url: str | None = None) -> StateFolder:
    """``setting`` (AGENTLOOP_HOME) if given, else ``.agentloop`` under ``cwd``; durable runs are
    kept at ``database_url`` (AGENTLOOP_DATABASE_URL) if given."""
    root = Path(setting).expanduser().absolute() if setting else cwd / DEFAULT_HOME
    return StateFolder(root, database_url or "")


def without_password(url: str) -> str:
    """``url`` as it may be shown."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user, _, place = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:***@{place}"))


def write_json(path: Path, value: Any) -> None:
    """Write whole or not at all: a reader, or a kill, never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(value, indent=1, sort_keys=True), encoding="utf-8")
    os.replace(partial, path)


def read_json(path: Path) -> Any | None:
    """The value in ``path``; None where there is none, or none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
