"""Parquet: by runs of row groups, decoded, and never beyond a damaged page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentloop.contracts import DataSourceConfig, EmptySource, SchemaMismatch, SourceUnreadable
from agentloop.data.arrow_extract import Extract
from agentloop.data.arrow_source import extract_source


def read(folder: Path, path: str = "rows.parquet", large_bytes: int = 1 << 20) -> Extract:
    spec = {"source": {"kind": "parquet", "path": path}, "target": "y"}
    return extract_source(DataSourceConfig.model_validate(spec), folder, large_bytes)


def chunks(extract: Extract) -> list[pa.Table]:
    return [chunk for part in extract.parts for chunk in part.chunks()]


def test_categoricals_are_decoded(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": pd.Categorical(["u", "v", "u"]), "y": [1, 2, 3]})
    frame.to_parquet(tmp_path / "rows.parquet")
    assert read(tmp_path).head.schema == pa.schema([("a", pa.string()), ("y", pa.int64())])


def test_a_large_file_is_parts_of_its_row_groups(tmp_path: Path) -> None:
    table = pa.table({"y": list(range(200_000))})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=50_000)
    extract = read(tmp_path, large_bytes=1)
    assert extract.head.num_rows < 200_000
    assert pa.concat_tables(chunks(extract)).equals(table)
    assert max(chunk.num_rows for chunk in chunks(extract)) <= 65_536


def test_files_of_other_columns_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "y": [2]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"b": [1], "y": [2]}), tmp_path / "b.parquet")
    with pytest.raises(SchemaMismatch, match=r"only b\.parquet has a column 'b'"):
        read(tmp_path, "*.parquet", large_bytes=1)


def test_files_of_other_types_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"y": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"y": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(SchemaMismatch):
        read(tmp_path, "*.parquet", large_bytes=1)


def test_folders_become_columns_of_every_chunk(tmp_path: Path) -> None:
    for day in ("2024-01-01", "2024-01-02"):
        (tmp_path / "in" / f"day={day}").mkdir(parents=True)
        pq.write_table(pa.table({"y": [1]}), tmp_path / "in" / f"day={day}" / "a.parquet")
    days = pa.concat_tables(chunks(read(tmp_path, "in", large_bytes=1))).column("day")
    assert [str(day) for day in days.to_pylist()] == ["2024-01-01", "2024-01-02"]


def test_a_page_that_is_damaged_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"y": [f"{n}" for n in range(300_000)]}), path, row_group_size=150_000)
    data = bytearray(path.read_bytes())
    place = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data[place : place + 4000] = bytes(4000)
    path.write_bytes(data)
    with pytest.raises(SourceUnreadable, match=r"rows\.parquet"):
        chunks(read(tmp_path, large_bytes=1))


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + bytes(40) + b"PAR1", b"a,y\n1,2\n"])
def test_what_is_no_parquet_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "rows.parquet").write_bytes(data)
    with pytest.raises(SourceUnreadable, match=r"rows\.parquet"):
        read(tmp_path)


def test_a_file_without_rows_is_empty(tmp_path: Path) -> None:
    pq.write_table(pa.table({"y": pa.array([], pa.int64())}), tmp_path / "rows.parquet")
    with pytest.raises(EmptySource):
        read(tmp_path)
