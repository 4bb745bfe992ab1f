"""Cut bytes as a chunk: a table of one row, with what their parser must know."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from agentloop.contracts.spec_data import CsvSource
from agentloop.data.csv_cut import CHUNK_BYTES, Cut
from agentloop.data.csv_sheet import Sheet, read_sheet
from agentloop.data.source_file import SourceFile

PART_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class CsvPart:
    """Some files of a CSV source, one after the other."""

    files: tuple[SourceFile, ...]
    source: CsvSource
    sample_bytes: int
    chunk_bytes: int = CHUNK_BYTES

    def sheets(self) -> Iterator[tuple[Sheet, Cut]]:
        for file in self.files:
            yield from read_sheet(file, self.source, self.sample_bytes, self.chunk_bytes)

    def chunks(self) -> Iterator[pa.Table]:
        """One row each: ``bytes`` (large_binary) and ``about`` (binary). Raises
        SourceUnreadable."""
        return (pack_chunk(sheet, cut) for sheet, cut in self.sheets())


def pack_chunk(about: object, cut: Cut) -> pa.Table:
    told = pickle.dumps((about, cut.first_line))
    return pa.table(
        {"bytes": pa.array([cut.data], pa.large_binary()), "about": pa.array([told], pa.binary())}
    )


def unpack_chunk(chunk: pa.Table) -> tuple[Sheet, Cut]:
    """What ``pack_chunk`` put together."""
    about, first_line = pickle.loads(chunk.column("about")[0].as_py())
    return about, Cut(chunk.column("bytes")[0].as_py(), first_line)


def in_parts(files: tuple[SourceFile, ...]) -> list[tuple[SourceFile, ...]]:
    """Neighbouring files together up to PART_BYTES: a part costs a task."""
    parts: list[list[SourceFile]] = []
    room = 0
    for file in files:
        if not parts or file.size > room:
            parts.append([])
            room = PART_BYTES
        parts[-1].append(file)
        room -= file.size
    return [tuple(part) for part in parts]
