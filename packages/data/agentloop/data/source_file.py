"""A file of a source, wherever it lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol


class SourceFile(Protocol):
    """Picklable, because Ray's workers open it. ``below`` is its path under the source's folder,
    with slashes; ``shown`` names it in messages; ``size`` is in bytes."""

    @property
    def below(self) -> str: ...

    @property
    def shown(self) -> str: ...

    @property
    def size(self) -> int: ...

    def open(self) -> BinaryIO:
        """The file from its beginning, seekable. Raises OSError."""
        ...


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of this machine, or of a disk that all nodes share."""

    path: Path
    below: str
    shown: str

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def open(self) -> BinaryIO:
        return self.path.open("rb")
