"""What reading a source gives: its rows, or its beginning and a way to stream the rest.

A source is cut into chunks (cheap, in order, one process a part) that are parsed into rows
(dear, in parallel). Sources whose chunks are rows already (Parquet, SQL) need no parser.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from agentloop.contracts.data import ColumnKind


@dataclass(frozen=True, slots=True)
class TornRow:
    """A row that cannot be read as one. ``number`` counts the rows of its chunk from 1 (None where
    the reader does not say), ``text`` is at most 200 characters of it."""

    number: int | None
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class RawRows:
    """The rows of one chunk as they were read, columns in the source's order and names."""

    table: pa.Table
    torn: tuple[TornRow, ...] = ()


class SourcePart(Protocol):
    """A stretch of a source. Picklable; ``chunks`` yields the same tables each time."""

    def chunks(self) -> Iterator[pa.Table]: ...


class ChunkParser(Protocol):
    """Picklable and pure. ``kinds`` are the kinds that the columns should have: a parser may read
    them as such where every value fits, and leaves a column as text where one does not."""

    def __call__(self, chunk: pa.Table, kinds: Mapping[str, ColumnKind]) -> RawRows: ...


@dataclass(frozen=True, slots=True)
class Extract:
    """A source that could be read.

    ``head`` holds all its rows (and ``torn`` its torn ones) unless there are ``parts``: then it
    holds the first rows, for inference, and ``parts`` hold everything, the head's rows included.
    ``from_text`` says whether values came as text without types (CSV), so that blanks around them
    mean nothing. ``notes`` are remarks for people, e.g. which encoding was found. ``size`` is how
    many bytes there are to read in all, where that is known.
    """

    source: str
    kind: str
    head: pa.Table
    torn: tuple[TornRow, ...] = ()
    parts: tuple[SourcePart, ...] = ()
    parser: ChunkParser | None = None
    from_text: bool = False
    notes: tuple[str, ...] = ()
    size: int | None = None
