"""Databases that are files: types, order, increments, and every way they cannot be read."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from agentloop.contracts import EmptySource, QueryRefused, SourceNotFound, SourceUnreadable
from agentloop.contracts.spec_data import SqlSource
from agentloop.data.arrow_extract import Extract
from agentloop.data.sql_extract import extract_sql, fingerprint_sql

Make = Callable[[str], None]
TABLE = """
CREATE TABLE loans (id INTEGER PRIMARY KEY, amount DECIMAL(10,2), good BOOLEAN, name VARCHAR,
                    moment TIMESTAMP, note VARCHAR);
INSERT INTO loans VALUES (3, 1.5, TRUE, 'Jürg', '2024-01-03 00:00:00', NULL),
                         (1, 2, FALSE, 'x:y''%s', '2024-01-01 12:30:00.000001', NULL),
                         (2, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE "no key" (a INTEGER, b INTEGER);
INSERT INTO "no key" VALUES (2, 9), (1, 8);
CREATE TABLE no_rows (a INTEGER);
CREATE VIEW big AS SELECT amount FROM loans WHERE amount > 1;
"""


@pytest.fixture(params=["sqlite", "duckdb"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    make_database(request.param, tmp_path / "rows.db", TABLE)
    return str(request.param)


def make_database(kind: str, path: Path, script: str) -> None:
    if kind == "sqlite":
        with sqlite3.connect(path) as connection:
            connection.executescript(script)
        connection.close()
    else:
        with duckdb.connect(str(path)) as connection:
            connection.execute(script)


def source(kind: str, file: str = "rows.db", **more: Any) -> SqlSource:
    return SqlSource(kind="sql", url=f"{kind}:///{file}", **more)


def read(kind: str, folder: Path, since: str | None = None, **more: Any) -> Extract:
    return extract_sql(source(kind, **more), folder, since)


def test_a_table_is_read_by_its_key_with_its_types(kind: str, tmp_path: Path) -> None:
    extract = read(kind, tmp_path, table="loans")
    table = extract.head
    assert (extract.kind, extract.parts, extract.from_text) == ("sql", (), False)
    assert table.column("id").to_pylist() == [1, 2, 3]
    assert table.column("amount").to_pylist() == [2.0, None, 1.5]
    assert table.column("name").to_pylist() == ["x:y'%s", None, "Jürg"]
    assert [str(f.type) for f in table.schema] == [
        "int64", "double", "bool", "string", "timestamp[us]", "string",
    ]  # fmt: skip


def test_only_named_columns_are_read(kind: str, tmp_path: Path) -> None:
    table = read(kind, tmp_path, table="loans", columns=("name", "amount")).head
    assert table.column_names == ["name", "amount"]


def test_a_table_without_a_key_comes_as_it_was_written(kind: str, tmp_path: Path) -> None:
    assert read(kind, tmp_path, table="no key").head.to_pydict() == {"a": [2, 1], "b": [9, 8]}


def test_a_view_is_a_table(kind: str, tmp_path: Path) -> None:
    assert sorted(read(kind, tmp_path, table="big").head["amount"].to_pylist()) == [1.5, 2.0]


def test_values_are_bound_to_their_places(kind: str, tmp_path: Path) -> None:
    query = "SELECT id, ':name' AS c FROM loans WHERE name = :name OR id = :id -- :x\n;"
    bound = {"name": "x:y'%s", "id": 3}
    table = read(kind, tmp_path, query=query, parameters=bound).head
    assert sorted(table["id"].to_pylist()) == [1, 3]
    assert table["c"].to_pylist() == [":name"] * 2


@pytest.mark.parametrize("what", [{"table": "loans"}, {"query": "SELECT * FROM loans -- all"}])
@pytest.mark.parametrize(
    ("since", "ids"),
    [
        ("2024-01-01T12:30:00", [1, 3]),
        ("2024-01-01T12:30:00.000001", [3]),
        ("2024-01-01T14:30:00+02:00", [1, 3]),
        ("2024-01-02", [3]),
    ],
)
def test_an_increment_holds_what_is_later(
    kind: str, tmp_path: Path, what: dict[str, str], since: str, ids: list[int]
) -> None:
    table = read(kind, tmp_path, since, time_column="moment", **what).head
    assert sorted(table["id"].to_pylist()) == ids


def test_an_increment_need_not_name_its_key_or_time(kind: str, tmp_path: Path) -> None:
    table = read(
        kind, tmp_path, "2024-01-01", table="loans", columns=("name",), time_column="moment"
    )
    assert table.head["name"].to_pylist() == ["x:y'%s", "Jürg"]


def test_an_increment_without_rows_is_empty(kind: str, tmp_path: Path) -> None:
    with pytest.raises(EmptySource, match="later than 2030"):
        read(kind, tmp_path, "2030-01-01", table="loans", time_column="moment")


def test_a_large_result_is_streamed_and_streamed_again(kind: str, tmp_path: Path) -> None:
    extract = extract_sql(source(kind, query=counting(150_000)), tmp_path)
    assert (extract.head.num_rows, len(extract.parts)) == (100_000, 1)
    part = pickle.loads(pickle.dumps(extract.parts[0]))
    for _ in range(2):
        chunks = list(part.chunks())
        assert [chunk.num_rows for chunk in chunks] == [65_536, 65_536, 18_928]
        assert pa.concat_tables(chunks)["n"].to_pylist() == list(range(150_000))
    assert extract.head.equals(pa.concat_tables(chunks).slice(0, 100_000).combine_chunks())


def counting(rows: int) -> str:
    return (
        f"WITH RECURSIVE r(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM r WHERE n < {rows - 1}) "
        "SELECT n, n / 2.0 AS half FROM r ORDER BY n"
        if rows < 1000
        else "WITH RECURSIVE d(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM d WHERE i < 999) "
        f"SELECT a.i * 1000 + b.i AS n FROM d a, d b WHERE a.i * 1000 + b.i < {rows} ORDER BY n"
    )


@pytest.mark.parametrize(
    ("what", "near"),
    [
        ({"table": "lones"}, "did you mean 'loans'?"),
        ({"table": "loans; DROP TABLE loans"}, "loans"),
        ({"table": "loans", "columns": ("amont",)}, "did you mean 'amount'?"),
        ({"table": "loans", "time_column": 'moment" > 1 --'}, "name one of|did you mean"),
        ({"query": "SELECT * FROM lones"}, "did you mean 'loans'?"),
        ({"query": "SELECT amont FROM loans"}, "did you mean|mend the column"),
    ],
)
def test_what_is_not_there_is_told_with_the_nearest_name(
    kind: str, tmp_path: Path, what: dict[str, Any], near: str
) -> None:
    with pytest.raises(SourceNotFound) as caught:
        read(kind, tmp_path, "2024-01-01" if "time_column" in what else None, **what)
    assert any(part in str(caught.value) for part in near.split("|"))


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"query": "SELECT 1 AS a, 2 AS a"}, "two columns are named 'a'"),
        ({"query": "SELECT CAST('x' AS BLOB) AS b"}, "column 'b' holds"),
        ({"query": "SELECT no_such_function(1) AS a"}, "no_such_function"),
        ({"query": "SELECT a FROM no_rows WHERE a === 1"}, "refused|syntax"),
    ],
)
def test_what_is_no_table_of_plain_values_is_told(
    kind: str, tmp_path: Path, what: dict[str, Any], reason: str
) -> None:
    with pytest.raises((SourceUnreadable, QueryRefused)) as caught:
        read(kind, tmp_path, **what)
    assert any(part in str(caught.value) for part in reason.split("|"))


def test_a_table_without_rows_is_empty(kind: str, tmp_path: Path) -> None:
    with pytest.raises(EmptySource, match="no_rows"):
        read(kind, tmp_path, table="no_rows")


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough" * 40])
def test_a_file_that_is_no_database_is_told(kind: str, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.db").write_bytes(content)
    with pytest.raises((SourceUnreadable, SourceNotFound), match=r"bad\.db"):
        extract_sql(source(kind, "bad.db", table="loans"), tmp_path)


@pytest.mark.parametrize(
    "url", ["{}:///absent.db", "{}:///", "{}://host/rows.db", "{}:///:memory:", "{}:///rows.db?mode=rwc"]
)  # fmt: skip
def test_only_a_file_that_is_there_is_opened(kind: str, tmp_path: Path, url: str) -> None:
    with pytest.raises((SourceNotFound, SourceUnreadable)):
        extract_sql(SqlSource(kind="sql", url=url.format(kind), table="t"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.db"]


def test_the_session_itself_only_reads(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentloop.data.sql_guard._reason", lambda *_: None)
    before = (tmp_path / "rows.db").read_bytes()
    outside = f"'{tmp_path}/other.db'"
    for query in ("DELETE FROM loans", "CREATE TABLE x (a INT)", f"ATTACH {outside} AS o",
                  "SELECT load_extension('x')", "SELECT * FROM read_text('/etc/passwd')",
                  f"VACUUM INTO {outside}", "PRAGMA journal_mode = WAL", "SET threads = 1",
                  f"COPY loans TO {outside}", "CREATE TEMP TABLE x (a INT)"):  # fmt: skip
        with pytest.raises((QueryRefused, SourceUnreadable, SourceNotFound)):
            read(kind, tmp_path, query=query)
    assert (tmp_path / "rows.db").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["rows.db"]


def test_the_fingerprint_tells_rows_and_questions_apart(kind: str, tmp_path: Path) -> None:
    loans, none = source(kind, table="loans"), source(kind, table="no_rows")
    first = fingerprint_sql(loans, tmp_path)
    assert first == fingerprint_sql(loans, tmp_path) != fingerprint_sql(none, tmp_path)
    make_database(kind, tmp_path / "rows.db", "INSERT INTO no_rows VALUES (1)")
    assert fingerprint_sql(loans, tmp_path) != first


def test_sqlite_columns_of_mixed_values_are_text(tmp_path: Path) -> None:
    script = "CREATE TABLE t (a, b DATE); INSERT INTO t VALUES (1, '2024-01-02'), ('x', 'soon')"
    make_database("sqlite", tmp_path / "rows.db", script)
    table = read("sqlite", tmp_path, table="t").head
    assert table.to_pydict() == {"a": ["1", "x"], "b": ["2024-01-02", "soon"]}


def test_sqlite_columns_may_change_their_type_after_the_first_rows(tmp_path: Path) -> None:
    query = counting(70_000).replace("AS n FROM", "AS n, CASE WHEN a.i * 1000 + b.i < 66000 "
                                     "THEN 1 ELSE 'x' END AS c FROM")  # fmt: skip
    make_database("sqlite", tmp_path / "rows.db", TABLE)
    column = read("sqlite", tmp_path, query=query).head["c"]
    assert (column[0].as_py(), column[69_999].as_py()) == ("1", "x")


def test_duckdb_types_become_plain_ones(tmp_path: Path) -> None:
    script = """CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE TABLE t AS SELECT 1::TINYINT AS a, 2::HUGEINT AS b, 3::UBIGINT AS c, 1.5::DECIMAL(9,2)
    AS d, uuid() AS e, 'bad'::mood AS f, TIME '10:00' AS g, 'nan'::FLOAT AS h,
    '2024-01-01 00:00:00+02'::TIMESTAMPTZ AS i, DATE '2024-01-01' AS j, NULL AS k"""
    make_database("duckdb", tmp_path / "rows.db", script)
    table = read("duckdb", tmp_path, table="t").head
    assert [str(f.type) for f in table.schema] == [
        "int64", "double", "double", "double", "string", "string", "string", "double",
        "timestamp[us, tz=UTC]", "date32[day]", "null",
    ]  # fmt: skip
    assert str(table["i"][0].as_py()) == "2023-12-31 22:00:00+00:00"


def test_duckdb_does_not_read_this_programs_variables(tmp_path: Path) -> None:
    make_database("duckdb", tmp_path / "rows.db", TABLE)
    secret_table = pa.table({"a": [1]})
    with pytest.raises(SourceNotFound):
        read("duckdb", tmp_path, query="SELECT * FROM secret_table")
    assert secret_table.num_rows == 1


def test_one_process_may_read_one_file_twice_at_once(kind: str, tmp_path: Path) -> None:
    part = extract_sql(source(kind, query=counting(70_000)), tmp_path, head_rows=1).parts[0]
    one, other = part.chunks(), part.chunks()
    for _ in range(2):
        assert next(one).equals(next(other))


@pytest.mark.parametrize("value", ["\ud800", "x\0y"])
def test_a_value_that_no_database_takes_is_told(kind: str, tmp_path: Path, value: str) -> None:
    with pytest.raises((SourceUnreadable, EmptySource)):
        read(kind, tmp_path, query="SELECT 1 AS a WHERE :v = 'x'", parameters={"v": value})


def test_text_that_is_no_utf8_is_told(tmp_path: Path) -> None:
    script = "CREATE TABLE t (a TEXT); INSERT INTO t VALUES (CAST(x'ff' AS TEXT))"
    make_database("sqlite", tmp_path / "rows.db", script)
    with pytest.raises(SourceUnreadable, match="UTF-8"):
        read("sqlite", tmp_path, table="t")
