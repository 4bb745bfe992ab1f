"""JSON lines: whole or in chunks, with the lines that are none told one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentloop.contracts import DataSourceConfig, SchemaMismatch, SourceUnreadable
from agentloop.data.arrow_cast import cast_column, normalise
from agentloop.data.arrow_extract import Extract, RawRows
from agentloop.data.arrow_jsonl import parse_lines
from agentloop.data.arrow_source import extract_source
from agentloop.data.csv_cut import Cut


def read(folder: Path, data: bytes, large_bytes: int = 1 << 20, **columns: Any) -> Extract:
    (folder / "rows.jsonl").write_bytes(data)
    source = {"kind": "jsonl", "path": "rows.jsonl"}
    spec = {"source": source, "target": "y", "columns": columns}
    return extract_source(DataSourceConfig.model_validate(spec), folder, large_bytes)


def parse(data: bytes, **kinds: Any) -> RawRows:
    return parse_lines("rows.jsonl", Cut(data, 1), kinds)


def test_lines_that_are_no_objects_are_told(tmp_path: Path) -> None:
    extract = read(
        tmp_path, b'{"y": 1}\n[2]\n\n{"y": \n{"y": "\xff"}\n{"y": 3, "y": 4}\n{"y": 5}\n'
    )
    assert extract.head.to_pydict() == {"y": [1, 5]}
    assert [(row.number, row.reason.split(" (")[0]) for row in extract.torn] == [
        (2, "is a JSON array, not an object"),
        (3, "is not JSON"),
        (4, "is not UTF-8 text"),
        (5, "is not JSON"),
    ]


def test_kinds_hold_where_values_fit() -> None:
    raw = parse(b'{"a": 1, "b": 2.0, "c": "2020-01-01"}\n', a="number", b="integer", c="datetime")
    assert raw.table.to_pydict() == {"a": [1.0], "b": [2], "c": ["2020-01-01"]}


def test_a_column_of_several_types_is_text_in_a_chunk() -> None:
    raw = parse(b'{"a": 1}\n{"a": "x"}\n{"a": true}\n{}\n', a="number")
    assert raw.table.to_pydict() == {"a": ["1", "x", "true", None]}


@pytest.mark.parametrize("kind", ["category", "text"])
def test_texts_of_numbers_do_not_depend_on_their_neighbours(kind: str) -> None:
    raw = parse(b'{"a": 1}\n{"a": 2.5}\n', a=kind)
    assert raw.table.to_pydict() == {"a": ["1", "2.5"]}


def test_texts_that_look_like_times_stay_texts() -> None:
    raw = parse(b'{"a": "2020-01-01", "b": 1}\n', a="text", b="text")
    assert raw.table.column("a").to_pylist() == ["2020-01-01"]


def test_a_key_that_a_chunk_lacks_is_null() -> None:
    assert parse(b'{"a": 1}\n', a="integer", b="text").table.to_pydict() == {"a": [1], "b": [None]}


def test_declared_columns_keep_their_place(tmp_path: Path) -> None:
    table = read(tmp_path, b'{"a": 1, "y": 2}\n', y={"kind": "number"}).head
    assert table.column_names == ["a", "y"]


def test_a_new_key_deep_in_a_file_is_named(tmp_path: Path) -> None:
    extract = read(tmp_path, b'{"y": 1}\n' * 3_000_000 + b'{"y": 2, "z": 3}\n', large_bytes=1)
    chunks = list(extract.parts[0].chunks())
    assert extract.parser is not None
    with pytest.raises(SchemaMismatch, match=r"column 'z' is not in the first rows of rows\.jsonl"):
        extract.parser(chunks[-1], {"y": "integer"})


def test_nesting_without_end_is_told_and_not_parsed(tmp_path: Path) -> None:
    deep = b'{"y": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}\n"
    extract = read(tmp_path, b'{"y": 1}\n' + deep, 1 << 25)
    assert [row.reason for row in extract.torn] == ["is nested too deeply"]


def test_nesting_deep_in_a_large_file_is_refused() -> None:
    with pytest.raises(SourceUnreadable, match="not one plain value a row"):
        parse(b'{"a": {"b": 1}}\n', a="text")


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    assert read(tmp_path, '{"y": "ü"}\n'.encode("utf-16")).head.to_pydict() == {"y": ["ü"]}


SCALARS = [1, 2.5, 1.0, "x", "1", True, None, 10**20, 1e20, "2020-01-01", 0.1, -3, 1e-7, 5e15]


@given(
    values=st.lists(st.sampled_from(SCALARS), min_size=2, max_size=8),
    kind=st.sampled_from(["number", "integer", "text", "category", "boolean"]),
    cut=st.integers(1, 7),
)
@settings(max_examples=200, deadline=None)
def test_where_lines_are_cut_makes_no_difference(values, kind, cut) -> None:
    lines = [json.dumps({"a": value}).encode() + b"\n" for value in values]

    def cast(lines: list[bytes]) -> list[object]:
        table = parse_lines("rows", Cut(b"".join(lines), 1), {"a": kind}, closed=True).table
        return cast_column(normalise(table.column("a"), ("",), from_text=False), kind)[
            0
        ].to_pylist()

    parts = [some for some in (lines[:cut], lines[cut:]) if some]
    assert [value for some in parts for value in cast(some)] == cast(lines)
