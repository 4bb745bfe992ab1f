"""A DuckDB file, opened so that nothing can be written and nothing else be read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import duckdb
import pyarrow as pa

from agentloop.contracts.errors import QueryRefused, SourceNotFound, SourceUnreadable
from agentloop.data.sql_columns import plain_table
from agentloop.data.sql_session import BATCH_ROWS, SINCE, Relation, check_names, nearest
from agentloop.data.sql_text import Statement
from agentloop.data.sql_url import scrubbed

_SETTINGS = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    # Else a table that is not there is looked for among this program's own variables.
    "python_enable_replacements": "false",
    # A sort spills to disk above this instead of taking most of the machine.
    "memory_limit": "1GB",
}


_SETTINGS_LOCK = Lock()


class DuckdbSession:
    """Implements SqlSession. All reads see one snapshot: the file is read-only to everyone."""

    def __init__(self, connection: Any, shown: str) -> None:
        self._connection = connection
        self._shown = shown

    def relations(self) -> Sequence[Relation]:
        listed = (
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal "
            "UNION ALL SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal "
            "ORDER BY ALL"
        )
        with self._told():
            rows = self._connection.execute(listed).fetchall()
        bare = [Relation("", name) for schema, name in rows if schema == "main"]
        return bare + [Relation(schema, name) for schema, name in rows]

    def described(self, relation: Relation) -> Relation:
        place = {"s": relation.schema or "main", "t": relation.name}
        columns = (
            "SELECT column_name FROM duckdb_columns() "
            "WHERE schema_name = $s AND table_name = $t ORDER BY column_index"
        )
        key = (
            "SELECT unnest(constraint_column_names) FROM duckdb_constraints() "
            "WHERE schema_name = $s AND table_name = $t AND constraint_type = 'PRIMARY KEY'"
        )
        with self._told():
            named = tuple(row[0] for row in self._connection.execute(columns, place).fetchall())
            order = tuple(row[0] for row in self._connection.execute(key, place).fetchall())
        return Relation(relation.schema, relation.name, named, order)

    def kinds(self, statement: Statement) -> Mapping[str, str]:
        self._check(statement)
        with self._told():
            result = self._connection.execute(statement.text, dict(statement.values))
            found = result.description
            result.fetchall()
        return {column[0]: str(column[1]) for column in found}

    def later(self, column: str, kind: str) -> str | None:
        if kind == "TIMESTAMP WITH TIME ZONE":
            return f"{column} > CAST(:{SINCE} AS TIMESTAMPTZ)"
        if kind == "VARCHAR":
            return f"CAST({column} AS TIMESTAMPTZ) > CAST(:{SINCE} AS TIMESTAMPTZ)"
        is_time = kind == "DATE" or kind.startswith("TIMESTAMP")
        return f"{column} > CAST(:{SINCE} AS TIMESTAMP)" if is_time else None

    def stream(self, statement: Statement) -> Iterator[pa.Table]:
        self._check(statement)
        with self._told():
            relation = self._connection.sql(statement.text, params=dict(statement.values))
            check_names(relation.columns, self._shown)
            reader = relation.to_arrow_reader(BATCH_ROWS)
        first = True
        for batch in self._batches(reader):
            yield plain_table(batch, self._shown)
            first = False
        if first:
            yield plain_table(reader.schema.empty_table(), self._shown)

    def _check(self, statement: Statement) -> None:
        """DuckDB's own word that this is a SELECT: a read-only file still lets tables be made in
        memory."""
        with self._told():
            found = [s.type for s in self._connection.extract_statements(statement.text)]
        if found != [duckdb.StatementType.SELECT]:
            raise QueryRefused(self._shown, "DuckDB does not read it as one SELECT")

    def _batches(self, reader: Any) -> Iterator[pa.Table]:
        """Tables of ``BATCH_ROWS`` rows: DuckDB's own batches are about as long."""
        held: list[pa.RecordBatch] = []
        rows = 0
        while True:
            with self._told():
                batch = next(iter(reader), None)
            if batch is not None:
                held.append(batch)
                rows += batch.num_rows
            while rows >= BATCH_ROWS or (batch is None and rows):
                table = pa.Table.from_batches(held)
                yield table.slice(0, BATCH_ROWS).combine_chunks()
                held = table.slice(BATCH_ROWS).to_batches()
                rows = sum(b.num_rows for b in held)
            if batch is None:
                return

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError, RuntimeError, ValueError) as error:
            raise self._typed(error) from None

    def _typed(self, error: Exception) -> Exception:
        message = scrubbed(str(error), None)
        told = re.sub(r"^[A-Za-z ]+ Error: ", "", message)
        absent = re.search(r"Table with name (\S+) does not exist", message)
        if absent:
            name = absent[1]
            known = list(dict.fromkeys(r.name for r in self.relations()))
            return SourceNotFound(f"{self._shown} (table '{name}')", next_step=nearest(name, known))
        absent = re.search(r'Referenced column "([^"]*)" not found', message)
        if absent:
            found = re.search(r"Candidate bindings: (.*)", str(error))
            step = f"did you mean {found[1]}?" if found else "mend the column's name in the query"
            return SourceNotFound(f"{self._shown} (column '{absent[1]}')", next_step=step)
        if isinstance(error, duckdb.PermissionException) or "read-only" in message:
            return QueryRefused(self._shown, f"DuckDB was asked for more than to read ({told})")
        return SourceUnreadable(self._shown, told, next_step="mend the query")


@contextmanager
def open_duckdb(file: Path, shown: str) -> Iterator[DuckdbSession]:
    """Raises SourceUnreadable where the file is no DuckDB database or another program writes it."""
    try:
        connection = duckdb.connect(str(file), read_only=True, config=dict(_SETTINGS))
    except (duckdb.Error, OSError, RuntimeError) as error:
        message = scrubbed(str(error), None)
        busy = "lock" in message or "different configuration" in message
        step = "close the program that has it open" if busy else "check that it is a DuckDB file"
        raise SourceUnreadable(shown, message, next_step=step) from None
    try:
        _lock_down(connection)
        yield DuckdbSession(connection, shown)
    finally:
        connection.close()


def _lock_down(connection: Any) -> None:
    """What is read must not depend on the machine's zone, and no query may change a setting. All
    connections of a process to one file share their settings: the first one makes them."""
    with _SETTINGS_LOCK:
        asked = "SELECT current_setting('lock_configuration')"
        # All rows, for what is left of a result holds the connection.
        if not connection.execute(asked).fetchall()[0][0]:
            connection.execute("SET GLOBAL TimeZone = 'UTC'")
            connection.execute("SET GLOBAL lock_configuration = true")
