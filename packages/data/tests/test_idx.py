"""Files in the format of MNIST."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pyarrow as pa
import pytest

from agentloop.contracts import DataSourceConfig, SourceUnreadable
from agentloop.data.arrow_extract import Extract
from agentloop.data.arrow_source import extract_source


def idx(*shape: int, values: bytes) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + values


IMAGES = idx(3, 2, 2, values=bytes(range(12)))
LABELS = idx(3, values=b"\x07\x00\x02")


def read(
    folder: Path, images: bytes = IMAGES, labels: bytes = LABELS, large_bytes: int = 1 << 20
) -> Extract:
    (folder / "images").write_bytes(images)
    (folder / "labels").write_bytes(labels)
    source = {"kind": "idx", "path": "images", "labels": "labels"}
    spec = DataSourceConfig.model_validate({"source": source, "target": "label"})
    return extract_source(spec, folder, large_bytes)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_pixels_and_labels_are_columns(tmp_path: Path, pack) -> None:
    table = read(tmp_path, pack(IMAGES), pack(LABELS)).head
    assert table.column_names == ["pixel_0", "pixel_1", "pixel_2", "pixel_3", "label"]
    assert table.to_pylist()[1] == {
        "pixel_0": 4, "pixel_1": 5, "pixel_2": 6, "pixel_3": 7, "label": 0
    }  # fmt: skip


def test_floats_are_big_endian(tmp_path: Path) -> None:
    vectors = bytes([0, 0, 0x0D, 2]) + struct.pack(">2I2f", 2, 1, 0.5, -1.0)
    table = read(tmp_path, vectors, idx(2, values=b"\0\1")).head
    assert table.column("pixel_0").to_pylist() == [0.5, -1.0]


def test_a_large_file_is_read_in_parts(tmp_path: Path) -> None:
    rows = 3 * (16 << 20) // 100
    images = idx(rows, 100, values=bytes(range(100)) * rows)
    extract = read(tmp_path, images, idx(rows, values=bytes(n % 10 for n in range(rows))))
    tables = [chunk for part in extract.parts for chunk in part.chunks()]
    labels = pa.concat_tables(tables).column("label")
    assert len(extract.parts) >= 3
    assert labels.to_pylist() == [n % 10 for n in range(rows)]


@pytest.mark.parametrize(
    ("images", "labels", "told"),
    [
        (IMAGES[:-1], LABELS, "holds less than its beginning says"),
        (IMAGES + b"x", LABELS, "holds more than its beginning says"),
        (IMAGES, LABELS[:-1], "holds less than its beginning says"),
        (IMAGES[:9], LABELS, "holds less than its beginning says"),
        (IMAGES, idx(2, values=b"\0\1"), "has 3 rows and labels has 2 labels"),
        (b"a,y\n1,2\n", LABELS, "does not begin as an idx file does"),
        (idx(3, 60000, 60000, values=b""), LABELS, "3,600,000,000 values a row"),
        (idx(4_000_000_000, 2, values=b""), idx(4_000_000_000, values=b""), "holds less"),
        (IMAGES, IMAGES, "one label a row"),
    ],
)
def test_a_file_that_does_not_fit_is_told(
    tmp_path: Path, images: bytes, labels: bytes, told: str
) -> None:
    with pytest.raises(SourceUnreadable, match=told):
        read(tmp_path, images, labels)
