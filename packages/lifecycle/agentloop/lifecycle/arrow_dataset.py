"""Stored dataset versions: what identifies their content, and how their rows are read back.

pyarrow is imported on first use, so that importing this module stays cheap.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.data import ColumnKind, DataSchema, DatasetVersion
from agentloop.contracts.errors import SourceNotFound, SourceUnreadable
from agentloop.contracts.spec import SplitSpec

PART_PATTERN = "part-*.parquet"
TEXT_KINDS = ("category", "text")
_HASHED = ("valid", "lengths", "values")


class ContentHasher:
    """sha256 over a schema and rows that depends on values alone.

    Fed with tables in row order, however they are cut into blocks: each column keeps separate
    streams for what is null, how long texts are, and the values themselves.
    """

    def __init__(self, schema: DataSchema) -> None:
        self._schema = schema
        self._rows = 0
        self._streams = {
            column.name: {part: hashlib.sha256() for part in _HASHED} for column in schema.columns
        }

    def update(self, table: Any) -> None:
        """Add the rows of a pyarrow Table that has every column of the schema."""
        self._rows += table.num_rows
        for column in self._schema.columns:
            streams = self._streams[column.name]
            for array in canonical(table.column(column.name), column.kind).chunks:
                for part, data in zip(_HASHED, _buffers(array), strict=True):
                    streams[part].update(data)

    def hexdigest(self) -> str:
        total = hashlib.sha256(f"{self._schema.digest}:{self._rows}".encode())
        for column in self._schema.columns:
            for part in _HASHED:
                total.update(self._streams[column.name][part].digest())
        return total.hexdigest()


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
    if kind == "number":
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


def split_mask(rows: int, spec: SplitSpec) -> npt.NDArray[np.bool_]:
    """bool (rows,), True for the test split.

    A row's side depends on its position and ``spec.seed`` alone (SplitMix64; Steele, Lea and
    Flood 2014), so it never moves, not even when rows are added after it.
    """
    state = np.arange(1, rows + 1, dtype=np.uint64) + np.uint64(spec.seed % 2**32 << 32)
    uniform = (_mix(_mix(state)) >> np.uint64(11)).astype(np.float64) / 2**53
    mask: npt.NDArray[np.bool_] = uniform < spec.test
    return mask


def _mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    z = state * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


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


def _buffers(array: Any) -> Iterator[bytes | memoryview]:
    """What is null (one byte a row), text lengths (int64), and the values, nulls being zero."""
    import pyarrow as pa
    import pyarrow.compute as pc

    yield array.is_valid().cast(pa.uint8()).to_numpy(zero_copy_only=False).tobytes()
    if pa.types.is_large_string(array.type):
        filled = array.fill_null("")
        yield pc.binary_length(filled).to_numpy(zero_copy_only=False).tobytes()
        offsets = np.frombuffer(filled.buffers()[1], np.int64)
        first, last = offsets[filled.offset], offsets[filled.offset + len(filled)]
        data = filled.buffers()[2]
        yield memoryview(data)[first:last] if data is not None else b""
        return
    yield b""
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    elif pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    yield array.fill_null(0).to_numpy(zero_copy_only=False).tobytes()


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
