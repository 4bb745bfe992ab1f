"""Parquet files, by runs of their row groups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from agentloop.contracts.errors import AgentLoopError, EmptySource, SourceUnreadable
from agentloop.data.arrow_extract import Extract
from agentloop.data.arrow_table import (
    KeyColumns,
    check_columns,
    check_schema,
    check_table,
    first_line,
    joined,
    key_columns,
    plain,
)
from agentloop.data.locate import folder_keys
from agentloop.data.source_file import SourceFile

CHUNK_ROWS = 64 << 10
CHUNK_BYTES = 32 << 20
PART_BYTES = 64 << 20
HEAD_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class ParquetPart:
    """Row groups ``groups`` of a file. ``columns`` are those of the source's first file."""

    file: SourceFile
    groups: tuple[int, ...]
    batch_rows: int
    columns: tuple[str, ...]
    keys: KeyColumns

    def chunks(self) -> Iterator[pa.Table]:
        """Raises SourceUnreadable where the file is damaged."""
        with open_parquet(self.file) as parquet:
            for batch in parquet.iter_batches(self.batch_rows, list(self.groups)):
                table = pa.Table.from_batches([batch])
                table.validate(full=True)
                table = plain(table).select(self.columns)
                yield self.keys.added_to(table, folder_keys(self.file), self.file.shown)


@contextmanager
def open_parquet(file: SourceFile) -> Iterator[pq.ParquetFile]:
    """Raises SourceUnreadable for whatever is wrong with the file while it is open."""
    try:
        with file.open() as raw, pq.ParquetFile(raw, pre_buffer=False) as parquet:
            yield parquet
    except AgentLoopError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise SourceUnreadable(
            file.shown, reason, next_step="check that the file is whole and is Parquet"
        ) from None


def extract_parquet(files: tuple[SourceFile, ...], source: str, large_bytes: int) -> Extract:
    """Raises EmptySource, SourceUnreadable, SchemaMismatch."""
    keys = key_columns(files, source)
    parts, unpacked = _planned(files, source, keys)
    if not parts:
        raise EmptySource(source)
    size = max(sum(file.size for file in files), unpacked)
    large = size > large_bytes
    tables, rows = [], 0
    for part in parts:
        for table in part.chunks():
            tables.append(table)
            rows += table.num_rows
            if large and rows >= HEAD_ROWS:
                break
        if large and rows >= HEAD_ROWS:
            break
    head = joined(tables, source)
    check_table(head, source)
    return Extract(source, "parquet", head, parts=tuple(parts) if large else (), size=size)


def _planned(
    files: tuple[SourceFile, ...], source: str, keys: KeyColumns
) -> tuple[list[ParquetPart], int]:
    """The parts of all files that have rows, and how many bytes they unpack to."""
    parts: list[ParquetPart] = []
    schemas: list[pa.Schema] = []
    unpacked = 0
    for file in files:
        with open_parquet(file) as parquet:
            schema = parquet.schema_arrow.remove_metadata()
            metadata = parquet.metadata
            check_schema(schema, file.shown)
            if not metadata.num_rows:
                continue
            schemas.append(schema)
            check_columns(schema.names, schemas[0].names, file.below, source)
            sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
            row_bytes = max(1, sum(sizes) // metadata.num_rows)
            batch_rows = max(1, min(CHUNK_ROWS, CHUNK_BYTES // row_bytes))
            columns = tuple(schemas[0].names)
            parts += [
                ParquetPart(file, groups, batch_rows, columns, keys) for groups in _runs(sizes)
            ]
            unpacked += sum(sizes)
    if schemas:
        joined([_decoded(schema).empty_table() for schema in schemas], source)
    return parts, unpacked


def _decoded(schema: pa.Schema) -> pa.Schema:
    return pa.schema([(f.name, getattr(f.type, "value_type", f.type)) for f in schema])


def _runs(sizes: list[int]) -> Iterator[tuple[int, ...]]:
    """Neighbouring row groups together up to PART_BYTES."""
    run: list[int] = []
    room = PART_BYTES
    for group, size in enumerate(sizes):
        if run and size > room:
            yield tuple(run)
            run, room = [], PART_BYTES
        run.append(group)
        room -= size
    if run:
        yield tuple(run)
