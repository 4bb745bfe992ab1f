"""Files in the format of MNIST: ``0 0 type dimensions``, the sizes, then big-endian values.

http://yann.lecun.com/exdb/mnist/ describes it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
import pyarrow as pa

from agentloop.contracts.errors import EmptySource, SchemaMismatch, SourceUnreadable
from agentloop.data.arrow_extract import Extract
from agentloop.data.arrow_table import joined
from agentloop.data.csv_dialect import MAX_COLUMNS
from agentloop.data.gzip_stream import READ_BYTES, ByteStream, open_stream, read_up_to
from agentloop.data.source_file import SourceFile

CHUNK_BYTES = 4 << 20
PART_BYTES = 16 << 20

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@dataclass(frozen=True, slots=True)
class Layout:
    """What the beginning of a file says: ``rows`` of ``width`` values of numpy's ``type``."""

    rows: int
    width: int
    type: str
    header_bytes: int

    @property
    def row_bytes(self) -> int:
        return self.width * np.dtype(self.type).itemsize


@dataclass(frozen=True, slots=True)
class IdxPart:
    """Rows ``start`` to ``stop`` of a file of vectors and of its file of labels."""

    file: SourceFile
    labels: SourceFile
    start: int
    stop: int

    def chunks(self) -> Iterator[pa.Table]:
        """Columns pixel_0 … and label. Raises SourceUnreadable."""
        with open_stream(self.file) as vectors, open_stream(self.labels) as labels:
            layout = read_layout(vectors, self.file)
            layout_of_labels = read_layout(labels, self.labels)
            _skip(vectors, self.start * layout.row_bytes)
            _skip(labels, self.start * layout_of_labels.row_bytes)
            step = max(1, CHUNK_BYTES // layout.row_bytes)
            for begin in range(self.start, self.stop, step):
                rows = min(step, self.stop - begin)
                values = _values(vectors, layout, rows, self.file)
                label = _values(labels, layout_of_labels, rows, self.labels)
                yield _table(values, label)
            if self.stop == layout.rows and (vectors.read(1) or labels.read(1)):
                raise _wrong_size(self.file, "more")


def extract_idx(
    files: tuple[SourceFile, ...], labels: tuple[SourceFile, ...], source: str, large_bytes: int
) -> Extract:
    """Every file of vectors with its file of labels, both in order of their paths.

    Raises EmptySource, SourceUnreadable; SchemaMismatch for files of different widths.
    """
    if len(files) != len(labels):
        reason = f"there are {len(files)} files of vectors and {len(labels)} of labels"
        raise SourceUnreadable(source, reason, next_step="set data.source.labels to match")
    parts: list[IdxPart] = []
    layouts: list[Layout] = []
    for file, label in zip(files, labels, strict=True):
        layout = _checked(file, label)
        layouts.append(layout)
        if layout.width != layouts[0].width:
            told = f"{file.below} has {layout.width} values a row and not {layouts[0].width}"
            raise SchemaMismatch(source, (told,))
        step = max(1, PART_BYTES // layout.row_bytes)
        parts += [
            IdxPart(file, label, start, min(start + step, layout.rows))
            for start in range(0, layout.rows, step)
        ]
    if not parts:
        raise EmptySource(source)
    size = sum(layout.rows * layout.row_bytes for layout in layouts)
    if size > large_bytes:
        return Extract(source, "idx", next(parts[0].chunks()), parts=tuple(parts), size=size)
    return Extract(source, "idx", joined([t for part in parts for t in part.chunks()], source))


def read_layout(stream: ByteStream, file: SourceFile) -> Layout:
    """Raises SourceUnreadable for what is not such a file."""
    magic = read_up_to(stream, 4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 1 <= magic[3] <= 4:
        reason = "it does not begin as an idx file does"
        raise SourceUnreadable(file.shown, reason, next_step="check data.source.kind and path")
    sizes = read_up_to(stream, 4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise _wrong_size(file, "less")
    rows, *shape = struct.unpack(f">{magic[3]}I", sizes)
    width = prod(shape)
    if not 1 <= width <= MAX_COLUMNS:
        reason = f"it has {width:,} values a row, and {MAX_COLUMNS:,} are the most"
        raise SourceUnreadable(file.shown, reason, next_step="make its images smaller")
    return Layout(rows, width, _TYPES[magic[2]], 4 + len(sizes))


def _checked(file: SourceFile, labels: SourceFile) -> Layout:
    with open_stream(file) as stream:
        layout = read_layout(stream, file)
    with open_stream(labels) as stream:
        layout_of_labels = read_layout(stream, labels)
    if layout_of_labels.width != 1:
        raise SourceUnreadable(labels.shown, "it does not hold one label a row")
    if layout.rows != layout_of_labels.rows:
        reason = f"it has {layout.rows} rows and {labels.below} has {layout_of_labels.rows} labels"
        raise SourceUnreadable(file.shown, reason, next_step="set data.source.labels to its labels")
    return layout


def _values(stream: ByteStream, layout: Layout, rows: int, file: SourceFile) -> np.ndarray:
    data = read_up_to(stream, rows * layout.row_bytes)
    if len(data) < rows * layout.row_bytes:
        raise _wrong_size(file, "less")
    values = np.frombuffer(data, layout.type).reshape(rows, layout.width)
    return values.astype(values.dtype.newbyteorder("="))


def _table(values: np.ndarray, labels: np.ndarray) -> pa.Table:
    columns = np.ascontiguousarray(values.T)
    arrays = [pa.array(column) for column in columns]
    names = [f"pixel_{index}" for index in range(len(arrays))]
    return pa.table([*arrays, pa.array(labels[:, 0])], [*names, "label"])


def _skip(stream: ByteStream, size: int) -> None:
    while size > 0 and (block := stream.read(min(size, READ_BYTES))):
        size -= len(block)


def _wrong_size(file: SourceFile, how: str) -> SourceUnreadable:
    return SourceUnreadable(
        file.shown,
        f"it holds {how} than its beginning says",
        next_step="check that the file is whole",
    )
