"""What each kind of database can do for us, and the statement that a source means."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import pyarrow as pa

from agentloop.contracts.errors import QueryRefused, SourceNotFound, SourceUnreadable
from agentloop.contracts.spec_data import SqlSource
from agentloop.data.sql_guard import check_places, checked_query
from agentloop.data.sql_text import SqlText, Statement

BATCH_ROWS = 1 << 16
SINCE = "agentloop_since"
# A catalog's names are quoted wherever they are used; none that needs escaping gets that far.
_IDENTIFIER = re.compile(r"\w[\w $-]{0,127}")


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view of the catalog. ``order`` are its primary key's columns, or what else gives
    its rows one order; empty where nothing does."""

    schema: str
    name: str
    columns: tuple[str, ...] = ()
    order: tuple[str, ...] = ()


class SqlSession(Protocol):
    """A connection that can only read, in one snapshot. Its errors are typed."""

    def relations(self) -> Sequence[Relation]:
        """All tables and views; those that need no schema have an empty one. Names only."""
        ...

    def described(self, relation: Relation) -> Relation:
        """``relation`` with its columns and order."""
        ...

    def kinds(self, statement: Statement) -> Mapping[str, str]:
        """The columns of a result and their types, without reading its rows."""
        ...

    def later(self, column: str, kind: str) -> str | None:
        """A condition that the quoted ``column`` is later than the place ``SINCE``, which is bound
        to a UTC time without a zone; None where ``kind`` is no time."""
        ...

    def stream(self, statement: Statement) -> Iterator[pa.Table]:
        """The rows, in tables of ``BATCH_ROWS`` rows (fewer in the last); one table at least."""
        ...


def statement_of(
    source: SqlSource, session: SqlSession, dialect: str, shown: str, since: str | None
) -> Statement:
    """The SELECT that ``source`` means; only rows later than ``since`` where that is given.

    Raises QueryRefused, SourceNotFound (with the nearest name) for a table or column that is not
    there, SourceUnreadable for a time that is none.
    """
    values = dict(source.parameters)
    if source.query is not None:
        cut = checked_query(source.query, dialect, values, shown)
        # On lines of its own: the text may end in a comment.
        query = _rendered(cut, dialect)
        within, listed, order = f"(\n{query}\n) AS agentloop_rows", "*", ""
        if since is None or source.time_column is None:
            return Statement(query, values)
    else:
        check_places((), values, shown)
        within, listed, order = _table(source, session, shown)
    where = ""
    if since is not None and source.time_column is not None:
        if SINCE in values:
            raise QueryRefused(shown, f":{SINCE} is taken", next_step="rename that parameter")
        rows = Statement(f"SELECT * FROM {within} LIMIT 0", values)
        where = _later(source.time_column, session, rows, dialect, shown)
        values = {**values, SINCE: utc_text(since, shown)}
    return Statement(f"SELECT {listed} FROM {within}{where}{order}", values)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def utc_text(since: str, shown: str) -> str:
    """``2024-01-01 00:00:00.000000``: an ISO 8601 date or time, in UTC and without its zone."""
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        raise SourceUnreadable(
            shown, f"since is '{since}', which is no ISO 8601 time", next_step="mend since"
        ) from None
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return moment.isoformat(" ", "microseconds")


def check_names(names: Sequence[str], shown: str) -> None:
    """Raises SourceUnreadable where two columns have one name, or a column has none."""
    for position, name in enumerate(names, 1):
        if names.count(name) > 1:
            step = "give each column of the query a name of its own (AS)"
            raise SourceUnreadable(shown, f"two columns are named '{name}'", next_step=step)
        if not name.strip() or name == "?column?":
            step = "name it in the query (AS)"
            raise SourceUnreadable(shown, f"column {position} has no name", next_step=step)


def nearest(name: str, known: Sequence[str]) -> str:
    """What to do about a name that is not there."""
    near = difflib.get_close_matches(name.lower(), [k.lower() for k in known], n=1, cutoff=0.5)
    for candidate in known:
        if near and candidate.lower() == near[0]:
            return f"did you mean '{candidate}'?"
    listed = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return f"name one of: {listed}" if listed else "create it, or grant this user SELECT on it"


def _table(source: SqlSource, session: SqlSession, shown: str) -> tuple[str, str, str]:
    """The table, its columns and the order of its rows, each as SQL."""
    relations = {f"{r.schema}.{r.name}" if r.schema else r.name: r for r in session.relations()}
    name = _known(source.table or "", list(relations), shown, "table")
    relation = session.described(relations[name])
    for column in (*source.columns, *([source.time_column] if source.time_column else [])):
        _known(column, relation.columns, shown, "column")
    listed = ", ".join(quoted(c) for c in source.columns) or "*"
    parts = [relation.schema, relation.name] if relation.schema else [relation.name]
    # The rows' order is part of a version's content. A key gives one; without a key the rows
    # come as the database keeps them.
    order = "\nORDER BY " + ", ".join(quoted(c) for c in relation.order) if relation.order else ""
    return ".".join(quoted(p) for p in parts), listed, order


def _later(name: str, session: SqlSession, rows: Statement, dialect: str, shown: str) -> str:
    """The WHERE that takes the rows whose time ``name`` is later than ``SINCE``."""
    kinds = session.kinds(rows)
    column = _known(name, list(kinds), shown, "column")
    condition = session.later(quoted(column), kinds[column])
    if condition is None:
        reason = f"time_column '{column}' holds {kinds[column]}, not times"
        raise SourceUnreadable(shown, reason, next_step="name a column of dates or times")
    return f"\nWHERE {condition.replace(f':{SINCE}', _place(SINCE, dialect))}"


def _known(name: str, known: Sequence[str], shown: str, what: str) -> str:
    parts = name.split(".") if what == "table" else [name]
    if name not in known:
        # What is shown of a table source names its table already.
        full = shown if what == "table" else f"{shown} ({what} '{name[:128]}')"
        raise SourceNotFound(full, next_step=nearest(name, known))
    if not all(_IDENTIFIER.fullmatch(part) for part in parts):
        reason = f"the name of {what} '{name[:128]}' has characters that are not allowed"
        raise SourceUnreadable(shown, reason, next_step="read it through a view with plain names")
    return name


def _place(name: str, dialect: str) -> str:
    return {"postgres": f"%({name})s", "duckdb": f"${name}"}.get(dialect, f":{name}")


def _rendered(text: SqlText, dialect: str) -> str:
    escaped = dialect == "postgres"  # psycopg reads % as the beginning of a place
    return text.joined(
        lambda name: _place(name, dialect),
        lambda piece: piece.replace("%", "%%") if escaped else piece,
    )
