"""A PostgreSQL server, read through a cursor in one read-only transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.types.string import TextLoader

from agentloop.contracts.errors import SourceNotFound, SourceUnreadable
from agentloop.data.postgres_access import connection_facts
from agentloop.data.postgres_errors import told
from agentloop.data.sql_columns import no_plain_value, text_as
from agentloop.data.sql_session import BATCH_ROWS, SINCE, Relation, check_names, nearest
from agentloop.data.sql_text import Statement
from agentloop.data.sql_url import scrubbed

# What psycopg's own loaders read well; the rest comes as text, which Arrow casts a column at once.
_AS_PYTHON = {
    "bool": pa.bool_(),
    "int2": pa.int64(),
    "int4": pa.int64(),
    "int8": pa.int64(),
    "oid": pa.int64(),
    "float4": pa.float64(),
    "float8": pa.float64(),
}
_AS_TEXT = {
    "numeric": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
}
# pg_type.typcategory of arrays, composites, ranges and pseudo-types.
_NOT_PLAIN = {"A", "C", "R", "P"}

# What is read must not depend on the server's or the user's settings. Without the last but one a
# scan may begin in the middle of a table; the last is because all rows are fetched.
_SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "iso_8601",
    "standard_conforming_strings": "on",
    "extra_float_digits": "1",
    "synchronize_seqscans": "off",
    "cursor_tuple_fraction": "1",
}

_RELATIONS = """
SELECT n.nspname, c.relname, pg_table_is_visible(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
ORDER BY 1, 2
"""
_COLUMNS = """
SELECT a.attname FROM pg_attribute a
WHERE a.attrelid = to_regclass(%(table)s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_KEY = """
SELECT a.attname
FROM pg_index i
CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k(attnum, position)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = to_regclass(%(table)s) AND i.indisprimary
ORDER BY k.position
"""
_TYPES = "SELECT oid, typname, typcategory::text FROM pg_type WHERE oid = ANY(%(oids)s)"


class PostgresSession:
    """Implements SqlSession, in one REPEATABLE READ, READ ONLY transaction."""

    def __init__(self, connection: psycopg.Connection[Any], shown: str, secret: str) -> None:
        self._connection = connection
        self._shown = shown
        self._secret = secret
        with self._told():
            for name, value in _SETTINGS.items():
                self._rows("SELECT set_config(%(n)s, %(v)s, true)", {"n": name, "v": value})
        for kind in ("numeric", "date", "timestamp", "timestamptz", "time", "timetz", "interval",
                     "uuid", "json", "jsonb", "inet", "cidr"):  # fmt: skip
            connection.adapters.register_loader(kind, TextLoader)

    def relations(self) -> Sequence[Relation]:
        with self._told():
            rows = self._rows(_RELATIONS)
        visible = [Relation("", name) for _, name, is_visible in rows if is_visible]
        return visible + [Relation(schema, name) for schema, name, _ in rows]

    def described(self, relation: Relation) -> Relation:
        parts = [relation.schema, relation.name] if relation.schema else [relation.name]
        place = {"table": ".".join('"' + p.replace('"', '""') + '"' for p in parts)}
        with self._told():
            columns = tuple(row[0] for row in self._rows(_COLUMNS, place))
            order = tuple(row[0] for row in self._rows(_KEY, place))
        return Relation(relation.schema, relation.name, columns, order)

    def kinds(self, statement: Statement) -> Mapping[str, str]:
        with self._told():
            cursor = self._connection.execute(statement.text, dict(statement.values))
        columns = cursor.description or []
        types = self._types([c.type_code for c in columns])
        return {c.name: types[c.type_code][0] for c in columns}

    def later(self, column: str, kind: str) -> str | None:
        if kind == "timestamptz":
            return f"{column} > CAST(:{SINCE} AS timestamptz)"
        if kind in ("timestamp", "date"):
            return f"{column} > CAST(:{SINCE} AS timestamp)"
        if kind in ("text", "varchar", "bpchar"):
            return f"CAST({column} AS timestamptz) > CAST(:{SINCE} AS timestamptz)"
        return None

    def stream(self, statement: Statement) -> Iterator[pa.Table]:
        # A cursor on the server: the rows never are here all at once.
        cursor = self._connection.cursor(name="agentloop")
        try:
            with self._told():
                cursor.execute(statement.text, dict(statement.values))
            columns = cursor.description or []
            names = [c.name for c in columns]
            check_names(names, self._shown)
            types = self._types([c.type_code for c in columns])
            kinds = [types[c.type_code] for c in columns]
            self._check_kinds(names, kinds)
            yield from self._fetched(cursor, names, [name for name, _ in kinds])
        finally:
            with suppress(psycopg.Error):
                cursor.close()

    def _fetched(self, cursor: Any, names: list[str], kinds: list[str]) -> Iterator[pa.Table]:
        before = 0
        while True:
            with self._told(before):
                rows = cursor.fetchmany(BATCH_ROWS)
            if rows or not before:
                yield self._table(rows, names, kinds)
            before += len(rows)
            if len(rows) < BATCH_ROWS:
                return

    def _table(self, rows: list[Any], names: list[str], kinds: list[str]) -> pa.Table:
        values = list(zip(*rows, strict=True)) or [()] * len(names)
        columns = []
        for name, kind, column in zip(names, kinds, values, strict=True):
            if kind in _AS_PYTHON:
                columns.append(pa.array(column, _AS_PYTHON[kind]))
            else:
                wanted = _AS_TEXT.get(kind, pa.string())
                array = text_as(column, wanted, self._shown, name)
                # char(n) is filled up with blanks that mean nothing.
                columns.append(pc.utf8_rtrim(array, " ") if kind == "bpchar" else array)
        return pa.table(columns, names)

    def _check_kinds(self, names: Sequence[str], kinds: Sequence[tuple[str, str]]) -> None:
        for name, (kind, category) in zip(names, kinds, strict=True):
            if kind == "bytea" or category in _NOT_PLAIN:
                shown = f"{kind[1:]}[]" if category == "A" else kind
                raise no_plain_value(self._shown, name, shown)

    def _types(self, oids: Sequence[int]) -> dict[int, tuple[str, str]]:
        with self._told():
            rows = self._rows(_TYPES, {"oids": sorted(set(oids))})
        return {oid: (name, category) for oid, name, category in rows}

    def _rows(self, text: str, values: Mapping[str, Any] | None = None) -> list[Any]:
        return self._connection.execute(text, values).fetchall()

    @contextmanager
    def _told(self, rows: int = 0) -> Iterator[None]:
        try:
            yield
        except psycopg.errors.UndefinedTable as error:
            raise self._no_table(error) from None
        except (psycopg.Error, ValueError) as error:
            raise told(error, self._shown, self._secret, rows) from None

    def _no_table(self, error: psycopg.Error) -> Exception:
        message = scrubbed(error.diag.message_primary or str(error), self._secret)
        name = message.partition('"')[2].partition('"')[0]
        try:
            self._connection.rollback()
            known = [r.name for r in self.relations() if not r.schema]
        except (psycopg.Error, SourceUnreadable):
            known = []
        return SourceNotFound(f"{self._shown} (table '{name}')", next_step=nearest(name, known))


@contextmanager
def open_postgres(url: str, allowed: str | None, shown: str) -> Iterator[PostgresSession]:
    """Raises SourceUnreadable where the server does not answer or refuses the user,
    RemoteForbidden where its host is not in ``allowed``."""
    facts, secret = connection_facts(url, allowed, shown)
    try:
        connection = psycopg.connect(**facts)
    except (psycopg.Error, ValueError, UnicodeError) as error:
        raise told(error, shown, secret) from None
    try:
        connection.read_only = True
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        yield PostgresSession(connection, shown, secret)
    finally:
        # Closing ends the transaction, whatever state it is in.
        connection.close()
