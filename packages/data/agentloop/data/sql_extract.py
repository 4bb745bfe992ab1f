"""Read a table or a query of PostgreSQL, SQLite or DuckDB as a stream of Arrow tables."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from agentloop.contracts.errors import EmptySource, SourceUnreadable
from agentloop.contracts.spec_data import SqlSource
from agentloop.data.arrow_extract import Extract
from agentloop.data.remote_access import REMOTE_SOURCES_ENV
from agentloop.data.sql_session import SqlSession, statement_of
from agentloop.data.sql_url import Database, find_database

HEAD_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class SqlPart:
    """All rows of a source. Each pass runs the query again, in a snapshot of its own.

    Made where the environment is the user's: workers may have another. Never shows a password.
    """

    shown: str
    database: Database
    source: SqlSource = field(repr=False)
    since: str | None = None
    allowed: str | None = None

    def chunks(self) -> Iterator[pa.Table]:
        """Tables of 65,536 rows (fewer in the last); one without rows where there are none.

        Raises SourceNotFound, SourceUnreadable, QueryRefused, RemoteForbidden.
        """
        with _session(self.database, self.allowed, self.shown) as session:
            statement = statement_of(
                self.source, session, self.database.dialect, self.shown, self.since
            )
            yield from session.stream(statement)


def extract_sql(
    source: SqlSource, base_dir: Path, since: str | None = None, head_rows: int = HEAD_ROWS
) -> Extract:
    """The rows of ``source``; those later than ``since`` (ISO 8601) where that is given.

    Raises SourceNotFound, SourceUnreadable, EmptySource, QueryRefused, RemoteForbidden.
    """
    part = _part(source, base_dir, since)
    tables: list[pa.Table] = []
    rows = 0
    chunks = part.chunks()
    try:
        for table in chunks:
            tables.append(table)
            rows += table.num_rows
            if rows > head_rows:
                break
    finally:
        chunks.close()  # type: ignore[attr-defined]
    if rows == 0:
        step = f"nothing is later than {since}" if since else "check the table or the query"
        raise EmptySource(part.shown, next_step=step)
    head = _joined(tables)
    if rows <= head_rows:
        return Extract(part.shown, "sql", head)
    return Extract(part.shown, "sql", head.slice(0, head_rows), parts=(part,))


def fingerprint_sql(source: SqlSource, base_dir: Path, since: str | None = None) -> str:
    """sha256 (hex) of what the source holds and of what is asked of it.

    Files: their bytes, with what SQLite or DuckDB has not yet merged into them. PostgreSQL has no
    cheap answer to whether rows changed, so that all of them are read. Raises like
    ``extract_sql``, but for EmptySource.
    """
    since = since or (source.since if source.since != "last" else None)
    part = _part(source, base_dir, since)
    asked = [source.table, source.columns, source.query, source.parameters]
    asked += [source.time_column, since]
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
    if part.database.file is None:
        for table in part.chunks():
            digest.update(_serialised(table))
        return digest.hexdigest()
    file = part.database.file
    try:
        for path in (file, file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}.wal")):
            if path.is_file():
                with path.open("rb") as opened:
                    digest.update(hashlib.file_digest(opened, "sha256").digest())
    except OSError as error:
        raise SourceUnreadable(part.shown, error.strerror or str(error)) from None
    return digest.hexdigest()


def _part(source: SqlSource, base_dir: Path, since: str | None) -> SqlPart:
    database = find_database(source, base_dir)
    shown = f"{database.shown} (table {source.table})" if source.table else database.shown
    return SqlPart(shown, database, source, since, os.environ.get(REMOTE_SOURCES_ENV))


@contextmanager
def _session(database: Database, allowed: str | None, shown: str) -> Iterator[SqlSession]:
    if database.dialect == "sqlite":
        from agentloop.data.sql_sqlite import open_sqlite

        with open_sqlite(database.path, shown) as sqlite:
            yield sqlite
    elif database.dialect == "duckdb":
        from agentloop.data.duckdb_read import open_duckdb

        with open_duckdb(database.path, shown) as duckdb:
            yield duckdb
    else:
        from agentloop.data.postgres_read import open_postgres

        with open_postgres(database.url, allowed, shown) as postgres:
            yield postgres


def _joined(tables: list[pa.Table]) -> pa.Table:
    """One table. SQLite's types are those of values, so that they may differ between chunks: then
    the column is text, as it is where they differ within one."""
    kinds: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for field_ in table.schema:
            kinds.setdefault(field_.name, set()).add(field_.type)
    mixed = [n for n, k in kinds.items() if len(k - {pa.null()}) > 1 and not _all_numbers(k)]
    return pa.concat_tables(
        [_texts(table, mixed) for table in tables], promote_options="permissive"
    ).combine_chunks()


def _all_numbers(kinds: set[pa.DataType]) -> bool:
    return kinds <= {pa.int64(), pa.float64(), pa.null()}


def _texts(table: pa.Table, names: list[str]) -> pa.Table:
    for name in names:
        index = table.column_names.index(name)
        table = table.set_column(index, name, table.column(name).cast(pa.string()))
    return table


def _serialised(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()
