"""Which tables a query reads, found by parsing it."""

from __future__ import annotations

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError


def tables_of(query: str, dialect: str) -> tuple[str, ...]:
    """Tables by name, with their schema where the query names it; none where it cannot be parsed.
    ``dialect`` is postgres, sqlite or duckdb."""
    try:
        root = sqlglot.parse_one(query, dialect=dialect)
    except (SqlglotError, RecursionError, ValueError):
        return ()
    # A name that WITH gives is no table.
    named = {expression.alias_or_name.lower() for expression in root.find_all(exp.CTE)}
    found = {
        f"{table.db}.{table.name}" if table.db else table.name
        for table in root.find_all(exp.Table)
        if table.name and (table.db or table.name.lower() not in named)
    }
    return tuple(sorted(found))
