"""Rows from a real PostgreSQL: their types, their order, increments, and what is not there."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from agentloop.contracts import EmptySource, SourceNotFound, SourceUnreadable
from agentloop.data.sql_extract import fingerprint_sql

HERE = Path("/nowhere")


def test_a_table_is_read_by_its_key_with_its_types(server: Any) -> None:
    table = server.read(table="loans").head
    assert table["id"].to_pylist() == [1, 2, 3]
    assert [str(f.type) for f in table.schema] == [
        "int64", "int64", "double", "double", "bool", "string", "string", "date32[day]",
        "timestamp[us]", "timestamp[us, tz=UTC]", *["string"] * 6,
    ]  # fmt: skip
    last = table.slice(2).to_pylist()[0]
    assert (last["amount"], last["name"], last["code"], last["feel"]) == (1.5, "Jürg", "ab", "bad")
    assert str(last["moment"]) == "2024-01-03 08:00:00+00:00"
    assert (last["extra"], last["often"], last["net"]) == ('{"a": 1}', "P1D", "10.0.0.1")
    assert str(table["amount"].to_pylist()[:2]) == "[nan, None]"


def test_named_columns_odd_names_and_schemas_are_read(server: Any) -> None:
    odd = server.read(table="Odd name", columns=("Class", "Sepal Length")).head
    assert odd.to_pylist() == [{"Class": "setosa", "Sepal Length": 5.1}]
    assert server.read(table="other.things").head["a"].to_pylist() == [7]
    assert server.read(table="pairs").head.to_pydict() == {"a": [2, 1], "b": [9, 8]}


def test_values_are_bound_to_their_places(server: Any) -> None:
    query = (
        "SELECT id, name::varchar AS n, ':name %' AS c FROM loans "
        "WHERE name = :name OR id = :id OR name LIKE '%;%' -- :x 100%\n;"
    )
    bound = {"name": "x:y'%s %(a)s", "id": 3}
    table = server.read(query=query, parameters=bound).head
    assert sorted(table["id"].to_pylist()) == [1, 3]
    assert table["c"].to_pylist() == [":name %"] * 2
    assert server.read(query="SELECT 5 % 3 AS a").head["a"].to_pylist() == [2]


@pytest.mark.parametrize("what", [{"table": "loans"}, {"query": "SELECT * FROM loans -- all"}])
@pytest.mark.parametrize(
    ("column", "since", "ids"),
    [
        ("local", "2024-01-01T12:30:00", [1, 3]),
        ("local", "2024-01-01T12:30:00.000001", [3]),
        ("local", "2024-01-03T11:30:00+02:00", [3]),
        ("moment", "2024-01-03T09:59:59+02:00", [3]),
        ("day", "2024-01-01", [3]),
        ("day", "2023-12-31T23:59:59", [1, 3]),
    ],
)
def test_an_increment_holds_what_is_later(
    server: Any, what: dict[str, str], column: str, since: str, ids: list[int]
) -> None:
    table = server.read(since, time_column=column, **what).head
    assert sorted(table["id"].to_pylist()) == ids


def test_a_large_result_is_streamed_and_streamed_again(server: Any) -> None:
    query = "SELECT n, n / 2.0 AS half FROM generate_series(0, :last) AS n"
    extract = server.read(query=query, parameters={"last": 149_999})
    assert (extract.head.num_rows, len(extract.parts)) == (100_000, 1)
    assert server.password not in repr(extract)
    assert "s3cr" not in repr(extract) + str(extract.parts[0])
    part = pickle.loads(pickle.dumps(extract.parts[0]))
    for _ in range(2):
        chunks = list(part.chunks())
        assert [chunk.num_rows for chunk in chunks] == [65_536, 65_536, 18_928]
        assert pa.concat_tables(chunks)["n"].to_pylist() == list(range(150_000))


def test_a_stream_that_is_left_leaves_no_session_behind(server: Any) -> None:
    extract = server.read(query="SELECT n FROM generate_series(1, 200000) AS n")
    chunks = extract.parts[0].chunks()
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    with server.connect() as connection:
        counted = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'agentloop'"
        assert connection.execute(counted).fetchone() == (0,)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ({"table": "lones"}, "did you mean 'loans'?"),
        ({"table": 'loans"; DROP TABLE loans; --'}, "loans"),
        ({"table": "pg_catalog.pg_authid"}, "does not exist"),
        ({"table": "loans", "columns": ("amont",)}, "did you mean 'amount'?"),
        ({"table": "loans", "columns": ("id, amount",)}, "does not exist"),
        ({"query": "SELECT * FROM lones"}, "did you mean 'loans'?"),
        ({"query": "SELECT amont FROM loans"}, "amount"),
        ({"query": "SELECT 1 AS a", "time_column": "b"}, "name one of: a"),
        ({"url_env": None, "url": "absent"}, "database"),
    ],
)
def test_what_is_not_there_is_told_with_the_nearest_name(
    server: Any, what: dict[str, Any], told: str
) -> None:
    if what.get("url") == "absent":
        what = {"url": server.url().replace("/postgres", "/absent"), "table": "loans"}
    with pytest.raises((SourceNotFound, SourceUnreadable)) as caught:
        server.read("2024-01-01" if "time_column" in what else None, **what)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ({"query": "SELECT 1 AS a, 2 AS a"}, "two columns are named 'a'"),
        ({"query": "SELECT 1"}, "column 1 has no name"),
        ({"table": "arrays", "columns": ("a",)}, "column 'a' holds int4[]"),
        ({"table": "arrays", "columns": ("b",)}, "column 'b' holds bytea"),
        ({"table": "arrays", "columns": ("c",)}, "column 'c' holds int4range"),
        ({"table": "arrays", "columns": ("d",)}, "column 'd' holds pairs"),
        ({"table": "arrays", "columns": ("e",)}, "column 'e' holds what date32[day] cannot"),
        ({"query": "SELECT 1 / a AS b FROM generate_series(0, 1) AS a"}, "division by zero"),
        ({"query": "SELECT CAST('x' AS int) AS b"}, "invalid input syntax"),
        ({"query": "SELECT no_such(1) AS a"}, "no_such"),
        ({"query": "SELECT 1 AS a WHERE 1 = $1"}, "parameter"),
        ({"query": "SELECT 1 AS a WHERE 1 = :a", "parameters": {"a": "x"}}, "invalid input"),
    ],
)
def test_what_is_no_table_of_plain_values_is_told(
    server: Any, what: dict[str, Any], told: str
) -> None:
    with pytest.raises(SourceUnreadable) as caught:
        server.read(**what)
    assert told in str(caught.value)


def test_a_column_that_is_no_time_takes_no_increment(server: Any) -> None:
    with pytest.raises(SourceUnreadable, match="holds int8, not times"):
        server.read("2024-01-01", table="loans", time_column="id")


def test_no_rows_are_told(server: Any) -> None:
    with pytest.raises(EmptySource):
        server.read(table="empty")


def test_the_fingerprint_follows_rows_and_question(server: Any) -> None:
    pairs, things = server.source(table="pairs"), server.source(table="other.things")
    first = fingerprint_sql(pairs, HERE)
    assert first == fingerprint_sql(pairs, HERE) != fingerprint_sql(things, HERE)
    with server.connect() as connection:
        connection.execute("CREATE TABLE later AS SELECT 1 AS a")
    later = fingerprint_sql(server.source(table="later"), HERE)
    with server.connect() as connection:
        connection.execute("UPDATE later SET a = 2")
    assert fingerprint_sql(server.source(table="later"), HERE) != later
