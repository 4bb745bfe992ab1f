"""Reading stored versions back."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentloop.contracts import (
    ColumnSchema,
    DataSchema,
    DatasetVersion,
    SourceNotFound,
    SourceUnreadable,
)
from agentloop.lifecycle.arrow_dataset import ContentHasher, read_columns

SCHEMA = DataSchema(
    (
        ColumnSchema("size", "number"),
        ColumnSchema("rooms", "integer"),
        ColumnSchema("garden", "boolean"),
        ColumnSchema("sold", "datetime"),
        ColumnSchema("town", "category"),
        ColumnSchema("label", "category"),
    ),
    "label",
)
TABLE = pa.table(
    {
        "size": pa.array([1.5, None, 3.0, float("nan")]),
        "rooms": pa.array([1, 2, None, 4]),
        "garden": pa.array([True, False, None, True]),
        "sold": pa.array([datetime(1970, 1, 2), None, None, None], pa.timestamp("us")),
        "town": pa.array(["Ulm", None, "", "Bärn"]),
        "label": pa.array([0, 1, 1, 0]),
    }
)


def hash_of(*tables: pa.Table) -> str:
    hasher = ContentHasher(SCHEMA)
    for table in tables:
        hasher.update(table)
    return hasher.hexdigest()


@pytest.fixture
def version(tmp_path: Path) -> DatasetVersion:
    pq.write_table(TABLE, tmp_path / "part-00000.parquet")
    digest = hash_of(TABLE)
    return DatasetVersion("houses", "v", digest, 4, str(tmp_path), SCHEMA, "", "")


def test_numbers_come_back_as_floats_with_nan_for_null(version: DatasetVersion) -> None:
    columns = read_columns(version)
    np.testing.assert_array_equal(columns["size"], [1.5, np.nan, 3.0, np.nan])
    np.testing.assert_array_equal(columns["rooms"], [1, 2, np.nan, 4])
    np.testing.assert_array_equal(columns["garden"], [1, 0, np.nan, 1])
    np.testing.assert_array_equal(columns["sold"], [86400, np.nan, np.nan, np.nan])
    assert all(columns[name].dtype == np.float64 for name in ("size", "rooms", "garden", "sold"))


def test_categories_come_back_as_text_or_none(version: DatasetVersion) -> None:
    columns = read_columns(version)
    assert columns["town"].tolist() == ["Ulm", None, "", "Bärn"]
    assert columns["label"].tolist() == ["0", "1", "1", "0"]


def test_the_hash_does_not_see_blocks() -> None:
    assert hash_of(TABLE) == hash_of(TABLE.slice(0, 1), TABLE.slice(1, 2), TABLE.slice(3))


def test_the_hash_sees_values_nulls_and_where_texts_end() -> None:
    other = TABLE.set_column(4, "town", pa.array(["Ul", None, "m", "Bärn"]))
    empty = TABLE.set_column(4, "town", pa.array(["Ulm", "", "", "Bärn"]))
    swapped = TABLE.take([1, 0, 2, 3])
    assert len({hash_of(t) for t in (TABLE, other, empty, swapped)}) == 4


def test_changed_rows_are_refused(version: DatasetVersion) -> None:
    pq.write_table(TABLE.take([1, 0, 2, 3]), Path(version.uri) / "part-00000.parquet")
    with pytest.raises(SourceUnreadable, match="not those that were stored"):
        read_columns(version)


def test_a_damaged_file_is_refused(version: DatasetVersion) -> None:
    part = Path(version.uri) / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(SourceUnreadable):
        read_columns(version)


def test_a_missing_folder_is_named(version: DatasetVersion, tmp_path: Path) -> None:
    (tmp_path / "part-00000.parquet").unlink()
    with pytest.raises(SourceNotFound, match=str(tmp_path)):
        read_columns(version)
