"""Where a CSV file is cut makes no difference."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agentloop.contracts import SourceUnreadable
from agentloop.contracts.spec_data import CsvSource
from agentloop.data.arrow_cast import cast_column, normalise
from agentloop.data.arrow_chunks import CsvPart
from agentloop.data.arrow_csv import CsvParser
from agentloop.data.arrow_table import KeyColumns
from agentloop.data.csv_cut import Quoting, cut_rows, last_row_end
from agentloop.data.source_file import LocalFile

MISSING = ("", "NA", "?")
VALUES = st.text(st.sampled_from('ab1",\n\r ü5.e+?'), max_size=6)


def parse(data: bytes, chunk_bytes: int, kinds: dict[str, str] | None = None) -> list[pa.Table]:
    source = CsvSource(kind="csv", path="rows.csv", header=False, names=("a", "b"), separator=",")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.csv")
        path.write_bytes(data)
        part = CsvPart((LocalFile(path, "rows.csv", "rows.csv"),), source, 1 << 20, chunk_bytes)
        parser = CsvParser("rows.csv", ("a", "b"), KeyColumns(), MISSING)
        return [parser(chunk, kinds or {}).table for chunk in part.chunks()]  # type: ignore[arg-type]


@given(
    rows=st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=30),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    chunk_bytes=st.integers(1, 200),
)
@settings(max_examples=150, deadline=None)
def test_rows_are_the_same_at_any_size_of_chunk(rows, quoting, end, chunk_bytes) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=quoting, lineterminator=end).writerows([("x", "y"), *rows])
    try:
        whole = pa.concat_tables(parse(text.getvalue().encode(), 1 << 20))
    except SourceUnreadable:
        assume(False)  # csv quotes no other line ends than its own
    cut = pa.concat_tables(parse(text.getvalue().encode(), chunk_bytes))
    assert cut.to_pylist() == whole.to_pylist()


@given(data=st.text(st.sampled_from('a,"\n'), max_size=60), chunk_bytes=st.integers(1, 40))
@settings(max_examples=300, deadline=None)
def test_stray_quotes_are_cut_as_the_parser_reads_them(data: str, chunk_bytes: int) -> None:
    try:
        whole = [
            row for table in parse(("x,y\n" + data).encode(), 1 << 20) for row in table.to_pylist()
        ]
    except SourceUnreadable:
        with pytest.raises(SourceUnreadable):
            parse(("x,y\n" + data).encode(), chunk_bytes)
        return
    cut = parse(("x,y\n" + data).encode(), chunk_bytes)
    assert [row for table in cut for row in table.to_pylist()] == whole


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b'1,"a\nb"\n2,"c', 8),
        (b'5" pipe,1\n6" pipe,2\n7', 20),
        (b'"a""\nb",1\n2', 10),
        (b"1,2\r3,4\r", 4),
        (b'1,"a\n', 0),
        (b"1,2", 0),
    ],
)
def test_a_row_ends_outside_quotes(data: bytes, end: int) -> None:
    assert last_row_end(data, Quoting(",")) == end


def test_cuts_know_their_first_line() -> None:
    cuts = cut_rows(io.BytesIO(b"1\n2\n3\n4\n"), Quoting(","), "rows", 2, chunk_bytes=4)
    assert [(cut.data, cut.first_line) for cut in cuts] == [(b"1\n2\n", 2), (b"3\n4\n", 4)]


def test_a_misfit_leaves_only_its_own_column_as_text() -> None:
    kinds = {"a": "integer", "b": "number"}
    (table,) = parse(b"1,2\n1.00E+05,3\nx, ? \n", 1 << 20, kinds)
    assert table.to_pydict() == {"a": ["1", "100000", "x"], "b": [2.0, 3.0, None]}


def test_whole_numbers_of_a_spreadsheet_are_whole() -> None:
    (table,) = parse(b"1,2\n1.00E+05,3\n", 1 << 20, {"a": "integer", "b": "text"})
    assert table.to_pydict() == {"a": [1, 100_000], "b": ["2", "3"]}


def test_a_quote_that_is_never_closed_names_its_line() -> None:
    with pytest.raises(SourceUnreadable, match="in or after line 3 is not closed"):
        parse(b'1,2\n3,4\n5,"6\n7,8\n', 1 << 20)


@given(
    values=st.lists(
        st.sampled_from(["1", "2.5", "1e2", " 3", "+4", "x", " ? ", "nan", "inf", "007", ""]),
        min_size=1,
        max_size=12,
    ),
    kind=st.sampled_from(["number", "integer", "text", "category"]),
    chunk_bytes=st.integers(1, 30),
)
@settings(max_examples=150, deadline=None)
def test_values_are_the_same_at_any_size_of_chunk(values, kind, chunk_bytes) -> None:
    data = "".join(f"{value},{n}\n" for n, value in enumerate(values)).encode()

    def cast(chunk_bytes: int) -> list[object]:
        tables = parse(data, chunk_bytes, {"a": kind, "b": "integer"})
        arrays = [normalise(table.column("a"), MISSING, from_text=True) for table in tables]
        return [value.as_py() for array in arrays for value in cast_column(array, kind)[0]]

    assert repr(cast(chunk_bytes)) == repr(cast(1 << 20))
