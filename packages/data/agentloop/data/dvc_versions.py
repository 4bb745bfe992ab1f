"""All versions of all datasets at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agentloop.data.dvc_repo import DvcRepo
from agentloop.data.files import locked, write_errors_told


@dataclass(frozen=True, slots=True)
class Pushed:
    """How many files went to the remote at ``remote``; 0 if it had them all."""

    remote: str
    files: int


def push_all(data_dir: Path) -> Pushed:
    """Push every version to the remote that the last one went to.

    Without a version there is no remote either. Raises VersioningFailed.
    """
    if not (data_dir / "repo" / ".dvc" / "config").is_file():
        return Pushed("", 0)
    with locked(data_dir / ".lock") as lock, write_errors_told(data_dir):
        remote, files = DvcRepo(data_dir, lock).push_all()
    return Pushed(remote, files)
