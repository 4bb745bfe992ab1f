"""Which queries are one plain SELECT, and which text in them is a place."""

from __future__ import annotations

import pytest

from agentloop.contracts import QueryRefused
from agentloop.data.sql_guard import checked_query

READ = [
    ("postgres", "SELECT a::text, ':x' AS c FROM t WHERE b > :since AND d = :d -- :no"),
    ("postgres", "WITH r AS (SELECT 1 AS a) SELECT a FROM r;"),
    ("postgres", "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r"),
    ("postgres", "(SELECT a FROM t) UNION ALL (SELECT a FROM u) ORDER BY a LIMIT 3; -- the end"),
    ("postgres", "SELECT count(*) FILTER (WHERE a > 1) OVER w FROM t WINDOW w AS (PARTITION BY b)"),
    ("postgres", "/* why; */ SELECT $$; DROP TABLE x$$ AS a, E'\\'; :x' AS b, pg_typeof(c) FROM t"),
    ("postgres", 'SELECT "delete", "into" FROM "update" WHERE a LIKE \'%; DROP\''),
    ("postgres", "SELECT date_trunc('day', a AT TIME ZONE 'utc'), j->>'k' FROM t"),
    ("sqlite", "SELECT [a b], `c`, strftime('%Y', d) FROM t"),
    ("duckdb", "SELECT * EXCLUDE (a) FROM main.t QUALIFY row_number() OVER (ORDER BY b) = 1"),
]  # fmt: skip

REFUSED = [
    ("postgres", ""),
    ("postgres", "-- nothing"),
    ("postgres", "SELECT 1; DROP TABLE t"),
    ("postgres", "SELECT 1; SELECT 2"),
    ("postgres", "DROP TABLE t"),
    ("postgres", "VALUES (1)"),
    ("postgres", "TABLE t"),
    ("postgres", "EXPLAIN ANALYZE SELECT 1"),
    ("postgres", "SELECT * INTO u FROM t"),
    ("postgres", "WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d"),
    ("postgres", "WITH d AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM d"),
    ("postgres", "WITH d AS (SELECT 1) DELETE FROM t"),
    ("postgres", "SELECT * FROM t FOR UPDATE"),
    ("postgres", "SELECT * FROM (SELECT * FROM t FOR SHARE) AS s"),
    ("postgres", "COPY t TO PROGRAM 'sh'"),
    ("postgres", "CALL p()"),
    ("postgres", "SET ROLE admin"),
    ("postgres", "SELECT pg_read_file('/etc/passwd')"),
    ("postgres", "SELECT pg_catalog.pg_read_file('/etc/passwd')"),
    ("postgres", "SELECT \"pg_read_file\"('/etc/passwd')"),
    ("postgres", "SELECT PG_READ_FILE('/etc/passwd')"),
    ("postgres", 'SELECT U&"pg\\005fread_file"(\'/etc/passwd\')'),
    ("postgres", "SELECT * FROM t, LATERAL pg_ls_dir('/') AS f"),
    ("postgres", "SELECT * FROM ROWS FROM (pg_ls_dir('/')) AS f"),
    ("postgres", "SELECT * FROM dblink('host=h', 'SELECT 1') AS t(a int)"),
    ("postgres", "SELECT lo_import('/etc/passwd')"),
    ("postgres", "SELECT query_to_xml('SELECT 1', true, true, '')"),
    ("postgres", "SELECT set_config('transaction_read_only', 'off', false)"),
    ("postgres", "SELECT nextval('s')"),
    ("postgres", "SELECT a FROM t WHERE b = 'not closed"),
    ("postgres", "SELECT 1 /* /* nested */ */"),
    ("sqlite", "PRAGMA table_info(t)"),
    ("sqlite", "ATTACH 'other.db' AS o"),
    ("sqlite", "SELECT load_extension('x')"),
    ("sqlite", "SELECT * FROM pragma_database_list"),
    ("sqlite", "SELECT * FROM pragma_table_info('t')"),
    ("sqlite", "REPLACE INTO t VALUES (1)"),
    ("duckdb", "SELECT * FROM read_csv('/etc/passwd')"),
    ("duckdb", "SELECT * FROM read_csv_auto('/etc/passwd')"),
    ("duckdb", "SELECT * FROM read_parquet(['a', 'b'])"),
    ("duckdb", "SELECT * FROM read_text('/etc/passwd')"),
    ("duckdb", "SELECT * FROM '/etc/passwd'"),
    ("duckdb", "SELECT * FROM 's3://bucket/rows.parquet'"),
    ("duckdb", 'SELECT * FROM "rows.csv"'),
    ("duckdb", "SELECT * FROM glob('/*')"),
    ("duckdb", "SELECT * FROM query('SELECT 1')"),
    ("duckdb", "SELECT * FROM postgres_scan('host=h', 'public', 't')"),
    ("duckdb", "SELECT getenv('HOME')"),
    ("duckdb", "COPY t TO 'x.csv'"),
    ("duckdb", "INSTALL httpfs"),
    ("duckdb", "FROM t"),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "query"), READ)
def test_a_select_is_allowed(dialect: str, query: str) -> None:
    values = {"since": 1, "d": 2} if ":since" in query else {}
    assert checked_query(query, dialect, values, "db").pieces


@pytest.mark.parametrize(("dialect", "query"), REFUSED)
def test_anything_else_is_refused(dialect: str, query: str) -> None:
    with pytest.raises(QueryRefused, match="The query of db is refused: "):
        checked_query(query, dialect, {}, "db")


def test_what_is_sent_is_the_text_that_was_written() -> None:
    text = checked_query("SELECT  a::int, ':b' FROM t WHERE c=:c ;", "postgres", {"c": 1}, "db")
    assert text.places == ("c",)
    assert text.joined(lambda n: f"<{n}>") == "SELECT  a::int, ':b' FROM t WHERE c=<c> "


@pytest.mark.parametrize("values", [{}, {"a": 1, "b": 2}])
def test_places_and_parameters_must_agree(values: dict[str, int]) -> None:
    with pytest.raises(QueryRefused, match=r":[ab]"):
        checked_query("SELECT 1 WHERE 2 > :a", "postgres", values, "db")


def test_a_query_made_to_exhaust_the_parser_is_refused() -> None:
    for query in ("SELECT " + "(" * 5000 + "1" + ")" * 5000, "SELECT 1" + " " * 100_000):
        with pytest.raises(QueryRefused):
            checked_query(query, "postgres", {}, "db")
