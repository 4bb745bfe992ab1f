"""How a CSV file is written is found out, or said in loop.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentloop.contracts import DataSourceConfig, SourceUnreadable
from agentloop.data.arrow_extract import Extract
from agentloop.data.arrow_source import extract_source


def read(folder: Path, data: bytes, columns: dict[str, Any] | None = None, **more: Any) -> Extract:
    (folder / "rows.csv").write_bytes(data)
    spec = {"source": {"kind": "csv", "path": "rows.csv", **more}, "target": "y"}
    return extract_source(
        DataSourceConfig.model_validate({**spec, "columns": columns or {}}), folder
    )


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_unicode_is_found_out(tmp_path: Path, codec: str) -> None:
    extract = read(tmp_path, "a,y\n1,Jürg\n2,Šárka\n".encode(codec))
    assert extract.head.to_pydict() == {"a": [1, 2], "y": ["Jürg", "Šárka"]}
    assert extract.notes == ()


def test_a_legacy_encoding_is_found_out_and_told(tmp_path: Path) -> None:
    rows = "name,y\nJürg Müller,5 €\nBjörn Åkesson,6 €\n" + "plain,7\n" * 9000
    extract = read(tmp_path, rows.encode("cp1252"))
    assert extract.head.column("name").to_pylist()[:2] == ["Jürg Müller", "Björn Åkesson"]
    assert extract.notes == ("rows.csv is not UTF-8 and was read as cp1252",)


def test_an_umlaut_in_the_last_row_of_a_small_file_counts(tmp_path: Path) -> None:
    rows = "name,y\n" + "plain,7\n" * 300_000 + "Jürg Müller,8\n"
    assert read(tmp_path, rows.encode("cp1252")).head.column("name")[-1].as_py() == "Jürg Müller"


def test_an_encoding_that_is_said_is_used(tmp_path: Path) -> None:
    extract = read(tmp_path, "a,y\nŁódź,1\n".encode("cp1250"), encoding="cp1250")
    assert extract.head.column("a").to_pylist() == ["Łódź"]


@pytest.mark.parametrize("encoding", ["klingon", "hex", "zlib"])
def test_what_is_no_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(SourceUnreadable, match=f"'{encoding}' is not an encoding"):
        read(tmp_path, b"a,y\n1,2\n", encoding=encoding)


def test_bytes_that_are_not_of_the_encoding_name_their_line(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match=r"line 3 is not UTF-8.*\n.*\n.*data.source.enc"):
        read(tmp_path, b"a,y\n1,2\n\xff,3\n", encoding="utf-8")


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_decimal_commas_are_found_out(tmp_path: Path, separator: str) -> None:
    rows = f"a{separator}y\n3,14{separator}-0,5e3\n2{separator}1\n"
    extract = read(tmp_path, rows.encode())
    assert extract.head.to_pydict() == {"a": [3.14, 2.0], "y": [-500.0, 1.0]}
    assert extract.notes == ("rows.csv was read with decimal commas",)


def test_a_decimal_point_anywhere_makes_commas_text(tmp_path: Path) -> None:
    assert read(tmp_path, b"a;y\n3,14;0.5\n").head.to_pydict() == {"a": ["3,14"], "y": [0.5]}


def test_misfits_leave_decimal_commas_readable(tmp_path: Path) -> None:
    columns = {"a": {"kind": "number"}}
    table = read(tmp_path, b"a;y\n3,14;1\nx;2\n", columns).head
    assert table.column("a").to_pylist() == ["3.14", "x"]


def test_whole_numbers_may_be_written_as_a_spreadsheet_does(tmp_path: Path) -> None:
    columns = {"a": {"kind": "integer"}}
    table = read(tmp_path, b"a,y\n1.00E+05,1\nx,2\n+7,3\n2.5,4\n", columns).head
    assert table.column("a").to_pylist() == ["100000", "x", "7", "2.5"]


def test_blanks_after_separators_mean_nothing(tmp_path: Path) -> None:
    table = read(tmp_path, b'a, b, y\n1, "x, z", 3\n2, w, 4\n').head
    assert table.to_pydict() == {"a": [1, 2], "b": ["x, z", " w"], "y": [3, 4]}


def test_a_file_without_a_header_is_given_names(tmp_path: Path) -> None:
    table = read(tmp_path, b"1,2\n3,4\n\n\n", header=False, names=["a", "y"]).head
    assert table.to_pydict() == {"a": [1, 3], "y": [2, 4]}


@pytest.mark.parametrize(
    ("names", "told"),
    [(["a", "b", "y"], "rows have 2 values and data.source.names lists 3"), (["y", "y"], "twice")],
)
def test_names_must_fit(tmp_path: Path, names: list[str], told: str) -> None:
    with pytest.raises(SourceUnreadable, match=told):
        read(tmp_path, b"1,2\n3,4\n", header=False, names=names)


def test_headerless_rows_of_decimal_commas_are_told_apart(tmp_path: Path) -> None:
    table = read(tmp_path, b"3,14;2,7;1,0\n", header=False, names=["a", "b", "y"]).head
    assert table.to_pydict() == {"a": [3.14], "b": [2.7], "y": [1.0]}


def test_a_separator_that_is_said_is_used(tmp_path: Path) -> None:
    assert read(tmp_path, b"a:y\n1:2\n", separator=":").head.to_pydict() == {"a": [1], "y": [2]}


def test_torn_rows_are_numbered_and_the_rest_is_read(tmp_path: Path) -> None:
    extract = read(tmp_path, b"a,y\n1,2\n3,4,5\n\n  \n6\n7,8\n \n")
    assert extract.head.to_pydict() == {"a": [1, 7], "y": [2, 8]}
    told = [(row.number, row.text, row.reason) for row in extract.torn]
    assert told == [
        (2, "3,4,5", "has 3 values and the header 2"),
        (3, "6", "has 1 values and the header 2"),
    ]


def test_a_torn_row_may_be_undecodable(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match="line 2 is not UTF-8"):
        read(tmp_path, b"a,y\n1,2,\xff\n3,4\n", encoding="utf-8")


def test_utf8_with_a_broken_byte_is_no_legacy_encoding(tmp_path: Path) -> None:
    rows = "a,y\n" + "Jürg,1\n" * 300
    with pytest.raises(SourceUnreadable, match="line 302 is not UTF-8"):
        read(tmp_path, rows.encode() + b"J\xc3(rg,1\n")
