"""Which files a source means, and how every way they can be broken is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentloop.contracts import (
    DataSourceConfig,
    EmptySource,
    SchemaMismatch,
    SourceNotFound,
    SourceUnreadable,
)
from agentloop.data.arrow_source import Extract, extract_source


def config(kind: str = "csv", path: str = "rows.csv", **more: Any) -> DataSourceConfig:
    return DataSourceConfig.model_validate(
        {"source": {"kind": kind, "path": path}, "target": "y", **more}
    )


def read(folder: Path, data: bytes, kind: str = "csv") -> Extract:
    (folder / f"rows.{kind}").write_bytes(data)
    return extract_source(config(kind, f"rows.{kind}"), folder)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found_out(tmp_path: Path, separator: str) -> None:
    rows = separator.join(["a", '"b, c; d"', "y"]) + "\n" + separator.join(["1", "2.5", "no"])
    table = read(tmp_path, rows.encode()).head
    assert table.to_pydict() == {"a": [1], "b, c; d": [2.5], "y": ["no"]}


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_byte_order_mark_and_every_line_end_are_read(tmp_path: Path, end: bytes) -> None:
    data = b"\xef\xbb\xbf" + end.join([b"a,y", b"1,J\xc3\xbcrg", b"2,b"])
    assert read(tmp_path, data).head.to_pydict() == {"a": [1, 2], "y": ["Jürg", "b"]}


def test_missing_tokens_leave_a_column_numeric(tmp_path: Path) -> None:
    table = read(tmp_path, b'a,y\n1,b\n?,b\n"NA",b\n ?,c\n').head
    assert table.column("a").to_pylist() == [1, None, None, None]


def test_values_may_hold_line_ends(tmp_path: Path) -> None:
    assert read(tmp_path, b'a,y\n"1\n2",b\n').head.column("a").to_pylist() == ["1\n2"]


@pytest.mark.parametrize("data", [b"", b"  \n\n", b"a,y\n"])
def test_a_file_without_rows_is_empty(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(EmptySource, match=r"rows\.csv"):
        read(tmp_path, data)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"a,y\n3,4,5\n6\n", "data row 1 has 3 values and the header 2; data row 2 has 1"),
        (b"\xff\xfea,y\n1", "line 1 is not utf-16"),
        (b"a,y\n1,\0\n", "NUL"),
        (b"a,a,y\n1,2,3\n", "the header has 'a' twice"),
        (b",a,y\n0,1,2\n", "column 1 of the header has no name"),
    ],
)
def test_a_broken_csv_file_is_told(tmp_path: Path, data: bytes, told: str) -> None:
    with pytest.raises(SourceUnreadable, match=told):
        read(tmp_path, data)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'{"a": 1}\n{"a": "x"}\n', "holds values of several kinds"),
        (b'[{"a": 1}]', "data row 1 is a JSON array, not an object"),
        (b'{"a": "\xff", "y": 1}', "data row 1 is not UTF-8 text"),
        (b'{"a": {"b": 1}, "y": 1}', "not one plain value a row"),
    ],
)
def test_broken_json_lines_are_told(tmp_path: Path, data: bytes, told: str) -> None:
    with pytest.raises(SourceUnreadable, match=told):
        read(tmp_path, data, "jsonl")


def test_json_lines_may_leave_values_out(tmp_path: Path) -> None:
    table = read(tmp_path, b'{"a": 1, "y": "n"}\n{"a": 2.5}\n', "jsonl").head
    assert table.to_pydict() == {"a": [1.0, 2.5], "y": ["n", None]}


def test_a_truncated_parquet_file_is_told(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "y": [2]}), tmp_path / "whole.parquet")
    with pytest.raises(SourceUnreadable):
        read(tmp_path, (tmp_path / "whole.parquet").read_bytes()[:-20], "parquet")


@pytest.mark.parametrize("path", ["none.csv", "none", "*.csv", "deep/**/x-*.csv"])
def test_a_source_that_is_not_there_is_named(tmp_path: Path, path: str) -> None:
    with pytest.raises(SourceNotFound) as caught:
        extract_source(config(path=path), tmp_path)
    assert path in str(caught.value)


@pytest.mark.parametrize("path", ["in", "in/**/*.csv", "in/../in"])
def test_folders_and_globs_are_read_in_order_of_path(tmp_path: Path, path: str) -> None:
    for name, row in (("b.csv", "2"), ("a/z.csv", "1"), (".hidden.csv", "9"), ("x.txt", "8")):
        file = tmp_path / "in" / name
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(f"a,y\n{row},n\n")
    assert extract_source(config(path=path), tmp_path).head.column("a").to_pylist() == [1, 2]


def test_an_empty_folder_is_an_empty_source(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(EmptySource, match="in"):
        extract_source(config(path="in"), tmp_path)


@pytest.mark.parametrize("path", ["in", "in/*.csv"])
def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.csv").write_text("a,y\n1,2\n")
    (tmp_path / "in" / "link.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(SourceUnreadable, match=r"link\.csv is a symbolic link"):
        extract_source(config(path=path), tmp_path)


def test_files_with_other_columns_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,y\n1,2\n")
    (tmp_path / "b.csv").write_text("b,y\n1,2\n")
    with pytest.raises(SchemaMismatch) as caught:
        extract_source(config(path="*.csv"), tmp_path)
    assert caught.value.differences == (
        "b.csv has no column 'a'",
        "only b.csv has a column 'b'",
    )


def test_files_may_differ_in_column_order_and_width_of_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,y\n1,2\n")
    (tmp_path / "b.csv").write_text("y,a\n3,1.5\n")
    table = extract_source(config(path="*.csv"), tmp_path).head
    assert table.to_pydict() == {"a": [1.0, 1.5], "y": [2, 3]}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_large_source_is_left_to_ray(tmp_path: Path, kind: str) -> None:
    (tmp_path / "rows.csv").write_text("a,y\n1,2\n")
    (tmp_path / "rows.jsonl").write_text('{"a": 1, "y": 2}\n')
    pq.write_table(pa.table({"a": [1], "y": [2]}), tmp_path / "rows.parquet")
    extract = extract_source(config(kind, f"rows.{kind}"), tmp_path, large_bytes=1)
    assert len(extract.parts) == 1
    assert extract.head.to_pydict() == {"a": [1], "y": [2]}
    (chunk,) = extract.parts[0].chunks()
    rows = (
        extract.parser(chunk, {"a": "integer", "y": "integer"}).table if extract.parser else chunk
    )
    assert rows.equals(extract.head)


def test_folders_named_key_value_become_columns(tmp_path: Path) -> None:
    for folder, row in (("year=2023/lang=en", 1), ("year=2024/lang=de%20CH", 2)):
        (tmp_path / "in" / folder).mkdir(parents=True)
        (tmp_path / "in" / folder / "a.csv").write_text(f"y\n{row}\n")
    table = extract_source(config(path="in"), tmp_path).head
    assert table.to_pydict() == {"y": [1, 2], "year": [2023, 2024], "lang": ["en", "de CH"]}


def test_files_below_other_keys_are_refused(tmp_path: Path) -> None:
    for folder in ("in/year=2023", "in/month=1"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.csv").write_text("y\n1\n")
    with pytest.raises(SchemaMismatch, match=r"year=2023/a\.csv lies below other"):
        extract_source(config(path="in"), tmp_path)


def test_a_link_that_is_named_is_followed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "rows.csv").write_text("a,y\n1,2\n")
    (tmp_path / "in" / "link.csv").symlink_to(tmp_path / "rows.csv")
    assert extract_source(config(path="in/link.csv"), tmp_path).head.num_rows == 1


def test_a_column_of_two_types_in_two_files_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,y\n1,2\n")
    (tmp_path / "b.csv").write_text("a,y\nx,2\n")
    table = extract_source(config(path="*.csv"), tmp_path).head
    assert table.to_pydict() == {"a": ["1", "x"], "y": [2, 2]}
