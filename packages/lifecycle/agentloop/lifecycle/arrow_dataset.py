"""Stored dataset versions: what identifies their content, and how their rows are read back.

pyarrow is imported on first use, so that importing this module stays cheap.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.data import ColumnKind, DataSchema, DatasetVersion
from agentloop.contracts.errors import SourceNotFound, SourceUnreadable

PART_PATTERN = "part-*.parquet"
TEXT_KINDS = ("category", "text")
# 131,072 rows of 32 columns, 32 MB of numbers.
GROUP_CELLS = 1 << 22
MAX_GROUP_ROWS, MIN_GROUP_ROWS = 1 << 17, 256


def group_rows(columns: int) -> int:
    """How many rows a row group of a stored dataset has: a power of two, and few enough that a
    group of a wide dataset fits in a worker. It is part of what a content hash means."""
    rows = GROUP_CELLS // max(columns, 1)
    return max(MIN_GROUP_ROWS, min(MAX_GROUP_ROWS, 1 << max(rows, 1).bit_length() - 1))


def group_digest(group: Any, schema: DataSchema) -> bytes:
    """sha256 of one row group, a pyarrow Table that has every column of the schema.

    Each column has separate streams for what is null, how long texts are, and the values.
    """
    total = hashlib.sha256()
    for column in schema.columns:
        array = canonical(group.column(column.name), column.kind).combine_chunks()
        for data in _buffers(array):
            total.update(hashlib.sha256(data).digest())
    return total.digest()


def content_hash(schema: DataSchema, rows: int, digests: Iterable[bytes]) -> str:
    """The identity (hex) of a dataset whose row groups, in order, have ``digests``."""
    total = hashlib.sha256(f"{schema.digest}:{rows}".encode())
    for digest in digests:
        total.update(digest)
    return total.hexdigest()


class ContentHasher:
    """``content_hash`` of rows that arrive as tables in row order, however they are cut."""

    def __init__(self, schema: DataSchema) -> None:
        self._schema = schema
        self._group = group_rows(len(schema.columns))
        self._rows = self._waiting_rows = 0
        self._waiting: list[Any] = []
        self._digests: list[bytes] = []

    def update(self, table: Any) -> None:
        """Add the rows of a pyarrow Table that has every column of the schema."""
        start = 0
        while start < table.num_rows:
            piece = table.slice(start, self._group - self._waiting_rows)
            self._waiting.append(piece)
            self._waiting_rows += piece.num_rows
            start += piece.num_rows
            if self._waiting_rows == self._group:
                self._close_group()
        self._rows += table.num_rows

    def hexdigest(self) -> str:
        """Of all rows so far; none can be added afterwards."""
        if self._waiting:
            self._close_group()
        return content_hash(self._schema, self._rows, self._digests)

    def _close_group(self) -> None:
        import pyarrow as pa

        self._digests.append(group_digest(pa.concat_tables(self._waiting), self._schema))
        self._waiting, self._waiting_rows = [], 0


def canonical(column: Any, kind: ColumnKind) -> Any:
    """A pyarrow ChunkedArray in the one type that stands for ``kind``; NaN becomes null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    types = {
        "number": pa.float64(),
        "integer": pa.int64(),
        "boolean": pa.bool_(),
        "datetime": pa.timestamp("us"),
        "category": pa.large_string(),
        "text": pa.large_string(),
    }
    cast = column.cast(types[kind])
    if kind == "number" and pc.any(pc.is_nan(cast)).as_py():
        cast = pc.if_else(pc.is_nan(cast), pa.scalar(None, pa.float64()), cast)
    return cast if isinstance(cast, pa.ChunkedArray) else pa.chunked_array([cast])


def read_columns(version: DatasetVersion) -> dict[str, npt.NDArray[Any]]:
    """Every column of a stored version, in row order, once its content hash is verified.

    Numbers, integers, booleans and datetimes (seconds since 1970) are float64 (rows,) with NaN
    for null; categories and text are object (rows,) of str or None. Raises SourceNotFound if the
    folder is gone and SourceUnreadable if a file is damaged or is not what was stored.
    """
    table = _read_table(version)
    hasher = ContentHasher(version.schema)
    hasher.update(table)
    if hasher.hexdigest() != version.content_hash:
        raise _unreadable(version, "its rows are not those that were stored")
    return {
        column.name: _to_numpy(table.column(column.name), column.kind)
        for column in version.schema.columns
    }


def _read_table(version: DatasetVersion) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = sorted(Path(version.uri).glob(PART_PATTERN))
    if not parts:
        raise SourceNotFound(version.uri, next_step="ingest the data again: agentloop run")
    try:
        table = pa.concat_tables([pq.ParquetFile(part).read() for part in parts])
        return table.select(list(version.schema.names))
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(version, str(error).splitlines()[0]) from None


def _unreadable(version: DatasetVersion, reason: str) -> SourceUnreadable:
    return SourceUnreadable(
        version.uri, reason, next_step="delete that folder and ingest the data again: agentloop run"
    )


def _buffers(array: Any) -> Iterator[Any]:
    """What is null (one byte a row; nothing where none is), text lengths (int64), and the values,
    nulls being zero."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if array.null_count:
        yield array.is_valid().cast(pa.uint8()).to_numpy(zero_copy_only=False)
        array = array.fill_null("" if pa.types.is_large_string(array.type) else _zero(array.type))
    else:
        yield b""
    if pa.types.is_large_string(array.type):
        yield pc.binary_length(array).to_numpy(zero_copy_only=False)
        offsets = np.frombuffer(array.buffers()[1], np.int64)
        first, last = offsets[array.offset], offsets[array.offset + len(array)]
        data = array.buffers()[2]
        yield memoryview(data)[first:last] if data is not None else b""
        return
    yield b""
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    elif pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    yield array.to_numpy(zero_copy_only=False)


def _zero(kind: Any) -> Any:
    import pyarrow as pa

    zero = False if pa.types.is_boolean(kind) else 0
    return pa.scalar(zero, pa.int64()).cast(kind) if pa.types.is_timestamp(kind) else zero


def _to_numpy(column: Any, kind: ColumnKind) -> npt.NDArray[Any]:
    import pyarrow as pa

    values = canonical(column, kind)
    if kind in TEXT_KINDS:
        texts: npt.NDArray[Any] = values.to_numpy(zero_copy_only=False)
        return texts.astype(object)
    if kind == "datetime":
        micros = values.cast(pa.int64()).cast(pa.float64(), safe=False)
        return _floats(micros) / 1e6
    if kind == "boolean":
        values = values.cast(pa.uint8())
    return _floats(values.cast(pa.float64(), safe=False))


def _floats(values: Any) -> npt.NDArray[np.float64]:
    array: npt.NDArray[np.float64] = values.to_numpy(zero_copy_only=False)
    return array.astype(np.float64)
