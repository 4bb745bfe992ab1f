"""A SQLite file, opened so that nothing can be written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from agentloop.contracts.errors import QueryRefused, SourceNotFound, SourceUnreadable
from agentloop.data.sql_columns import loose_column
from agentloop.data.sql_session import BATCH_ROWS, SINCE, Relation, check_names, nearest
from agentloop.data.sql_text import Statement
from agentloop.data.sql_url import scrubbed

_READS = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
# Column types are told only for a view. A temporary one lives beside the database, in memory.
_VIEW = "agentloop_columns"
_VIEW_ACTS = {
    sqlite3.SQLITE_CREATE_TEMP_VIEW,
    sqlite3.SQLITE_DROP_TEMP_VIEW,
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE,
    sqlite3.SQLITE_DELETE,
}
_VIEW_TABLES = {_VIEW, "sqlite_temp_master", "sqlite_temp_schema", "sqlite_master"}


class SqliteSession:
    """Implements SqlSession. All reads see one snapshot."""

    def __init__(self, connection: sqlite3.Connection, shown: str) -> None:
        self._connection = connection
        self._shown = shown
        connection.set_authorizer(_may_read)
        # SQLite compares times as text; this compares them as times, whatever their form.
        connection.create_function("agentloop_time", 1, _microseconds, deterministic=True)

    def relations(self) -> Sequence[Relation]:
        listed = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"
        with self._told():
            names = [row[0] for row in self._connection.execute(listed)]
        return [Relation("", name) for name in names if not name.startswith("sqlite_")]

    def described(self, relation: Relation) -> Relation:
        rows = self._pragma("table_xinfo", relation.name)
        columns = tuple(row[1] for row in rows if row[6] != 1)
        keyed = sorted((row[5], row[1]) for row in rows if row[5])
        order = tuple(name for _, name in keyed) or self._row_number(relation, columns)
        return Relation(relation.schema, relation.name, columns, order)

    def kinds(self, statement: Statement) -> Mapping[str, str]:
        with self._told():
            self._connection.set_authorizer(_may_describe)
            try:
                # A view has no places; what is bound to them is no column of a table anyway.
                text = statement.text
                for name in sorted(statement.values, key=len, reverse=True):
                    text = text.replace(f":{name}", "NULL")
                self._connection.execute(f"CREATE TEMP VIEW {_VIEW} AS {text}")
                rows = self._connection.execute(f"PRAGMA temp.table_info({_VIEW})").fetchall()
                self._connection.execute(f"DROP VIEW temp.{_VIEW}")
            finally:
                self._connection.set_authorizer(_may_read)
        return {row[1]: row[2] for row in rows}

    def later(self, column: str, kind: str) -> str | None:
        return f"agentloop_time({column}) > agentloop_time(:{SINCE})"

    def stream(self, statement: Statement) -> Iterator[pa.Table]:
        declared = list(self.kinds(statement).values())
        with self._told():
            cursor = self._connection.execute(statement.text, dict(statement.values))
        names = [column[0] for column in cursor.description]
        check_names(names, self._shown)
        first = True
        while True:
            with self._told():
                rows = cursor.fetchmany(BATCH_ROWS)
            if rows or first:
                yield self._table(rows, names, declared)
            if len(rows) < BATCH_ROWS:
                return
            first = False

    def _table(self, rows: list[Any], names: list[str], declared: list[str]) -> pa.Table:
        values = list(zip(*rows, strict=True)) or [()] * len(names)
        columns = [
            loose_column(v, d, self._shown, n)
            for v, d, n in zip(values, declared, names, strict=True)
        ]
        return pa.table(columns, names)

    def _pragma(self, name: str, table: str) -> list[Any]:
        with self._told():
            self._connection.set_authorizer(_may_describe)
            try:
                listed = f"SELECT * FROM pragma_{name}(?)"
                return self._connection.execute(listed, (table,)).fetchall()
            finally:
                self._connection.set_authorizer(_may_read)

    def _row_number(self, relation: Relation, columns: Sequence[str]) -> tuple[str, ...]:
        """A table without a key still keeps its rows by number, while a scan of it may follow an
        index. A view has no such numbers."""
        try:
            name = relation.name.replace('"', '""')
            self._connection.execute(f'SELECT rowid FROM "{name}" LIMIT 0')
        except sqlite3.Error:
            return ()
        return ("rowid",)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, sqlite3.Warning, OverflowError, ValueError) as error:
            raise self._typed(error) from None

    def _typed(self, error: Exception) -> Exception:
        message = scrubbed(str(error), None)
        if message.startswith("no such table: "):
            name = message.removeprefix("no such table: ")
            known = [r.name for r in self.relations()]
            return SourceNotFound(f"{self._shown} (table '{name}')", next_step=nearest(name, known))
        if message.startswith("no such column: "):
            name = message.removeprefix("no such column: ")
            step = "mend the column's name in the query"
            return SourceNotFound(f"{self._shown} (column '{name}')", next_step=step)
        if "not authorized" in message or "prohibited" in message or "readonly" in message:
            return QueryRefused(self._shown, f"SQLite was asked for more than to read ({message})")
        if "user-defined function" in message:
            message = "time_column holds a value that is no ISO 8601 time"
        return SourceUnreadable(self._shown, message, next_step=_step(message))


@contextmanager
def open_sqlite(file: Path, shown: str) -> Iterator[SqliteSession]:
    """Raises SourceUnreadable where the file is no SQLite database or is locked."""
    try:
        connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=10)
    except sqlite3.Error as error:
        raise SourceUnreadable(shown, scrubbed(str(error), None)) from None
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        session = SqliteSession(connection, shown)
        yield session
    except sqlite3.Error as error:
        message = scrubbed(str(error), None)
        raise SourceUnreadable(shown, message, next_step=_step(message)) from None
    finally:
        connection.close()


def _step(message: str) -> str:
    if "locked" in message:
        return "run it again once the program that writes to the database is done"
    if "not a database" in message or "malformed" in message:
        return "check that the file is a whole SQLite database"
    return "mend the query"


def _may_read(action: int, one: Any, two: Any, *_: Any) -> int:
    if action == sqlite3.SQLITE_FUNCTION and two in ("load_extension", "fts3_tokenizer"):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY


def _may_describe(action: int, one: Any, two: Any, *rest: Any) -> int:
    """While columns are asked for: reading, and what making the view does to its own tables."""
    if action == sqlite3.SQLITE_PRAGMA and one in ("table_info", "table_xinfo"):
        return sqlite3.SQLITE_OK
    if action in _VIEW_ACTS and one in _VIEW_TABLES:
        return sqlite3.SQLITE_OK
    return _may_read(action, one, two, *rest)


def _microseconds(value: Any) -> int | None:
    """Microseconds since 1970 of an ISO 8601 text, in UTC where it names no zone. Whole, so that
    two times are never equal that differ."""
    if value is None:
        return None
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    gone = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (gone.days * 86_400 + gone.seconds) * 1_000_000 + gone.microseconds
