"""The objects in DVC's cache: files that are named after the md5 of what they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Set
from pathlib import Path

from agentloop.data.files import READ_ONLY


class DvcCache:
    """The objects under ``folder``, which is a cache of DVC or a remote that is a folder.

    A version is one object that lists its files (its ``pointer``), and one a file.
    """

    def __init__(self, folder: Path) -> None:
        self._files = folder / "files" / "md5"

    def path(self, digest: str) -> Path:
        return self._files / digest[:2] / digest[2:]

    def members(self, pointer: str) -> dict[str, Path]:
        """The objects of a version by the names of its files; none if its list is not here."""
        try:
            members = json.loads(self.path(pointer).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return {member["relpath"]: self.path(member["md5"]) for member in members}

    def has(self, pointer: str) -> bool:
        """Whether all of a version is here, by the names of its objects."""
        return self.path(pointer).is_file() and all(p.is_file() for p in self._all(pointer))

    def is_whole(self, pointer: str) -> bool:
        """Whether all of a version is here, byte for byte."""
        return all(is_named_by_content(path) for path in self._all(pointer))

    def drop_damaged(self, pointer: str) -> None:
        """Drop a version's objects that are not what their name says."""
        _drop_damaged([*self._all(pointer)])

    def drop_unfinished(self) -> None:
        """Drop objects that DVC did not finish: it makes one read-only last, and takes one that
        exists for one that is whole."""
        found = list(self._files.glob("*/*"))
        _drop_damaged(path for path in found if path.stat().st_mode & 0o777 != READ_ONLY)

    def drop_linked(self, inodes: Set[int]) -> None:
        """Drop objects that are links to those files."""
        for path in [p for p in self._files.glob("*/*") if p.stat().st_ino in inodes]:
            path.unlink()

    def _all(self, pointer: str) -> Iterable[Path]:
        yield self.path(pointer)
        yield from self.members(pointer).values()


def is_named_by_content(path: Path) -> bool:
    """Whether an object is there and has the md5 that it is named after."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "md5").hexdigest()
    except FileNotFoundError:
        return False
    return digest == path.parent.name + path.name.removesuffix(".dir")


def _drop_damaged(paths: Iterable[Path]) -> None:
    for path in paths:
        if not is_named_by_content(path):
            path.unlink(missing_ok=True)
