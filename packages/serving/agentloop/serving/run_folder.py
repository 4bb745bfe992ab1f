"""The folder of the serving plane's sockets and generated files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from agentloop.contracts.errors import ClusterError


def run_dir(home: Path) -> Path:
    """Sockets and generated files of the serving plane of ``home``.

    It lies outside ``home`` because HAProxy takes socket paths of at most 97 characters, and Serve
    puts a node id of 56 in the middle of its own.
    """
    digest = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:8]
    return Path(f"/tmp/al-{os.getuid()}-{digest}")


def open_run_dir(home: Path) -> Path:
    """``run_dir``, made if need be. Raises ClusterError unless it is this user's alone: its
    sockets give full control of the edge."""
    folder = run_dir(home)
    folder.mkdir(exist_ok=True, mode=0o700)
    info = folder.lstat()
    if info.st_uid != os.getuid() or info.st_mode & 0o077 or folder.is_symlink():
        raise ClusterError(f"{folder} belongs to somebody else or is open to others")
    return folder
