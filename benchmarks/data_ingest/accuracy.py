"""How far the pipeline's profile is from exact figures, which DuckDB takes from the same files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
from rules import CATEGORIES, NAMES, NUMBERS


def accuracy_rows(source: Path, profile: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a column: the largest rank error of its quantiles (a share of the rows), the relative
    error of its distinct count, and by how many its counts are off."""
    connection = duckdb.connect()
    # Said, for "yes" and "no" would be read as booleans.
    texts = ", ".join(f"'{name}': 'VARCHAR'" for name in CATEGORIES)
    rows = f"read_csv('{source}/*.csv', types = {{{texts}}})"
    connection.execute(f"CREATE TABLE t AS SELECT * FROM {rows}")
    return [_row(connection, name, profile[name]) for name in NAMES]


def _row(connection: duckdb.DuckDBPyConnection, name: str, told: dict[str, Any]) -> dict[str, Any]:
    query = f"SELECT count({name}), count(*) - count({name}), count(DISTINCT {name}) FROM t"
    count, nulls, distinct = connection.execute(query).fetchall()[0]
    off = abs(told["count"] - count) + abs(told["nulls"] - nulls)
    if told["histogram"]:
        off += abs(sum(told["histogram"][1]) - count)
    if told["top"]:
        exact = dict(connection.execute(f"SELECT {name}, count(*) FROM t GROUP BY 1").fetchall())
        off += sum(abs(exact.get(text, 0) - seen) for text, seen in told["top"])
    quantiles = told["quantiles"] if name in NUMBERS else {}
    errors = [_rank_error(connection, name, float(p), q, count) for p, q in quantiles.items()]
    return {
        "column": name,
        "rank_error": round(max(errors), 6) if errors else None,
        "distinct": distinct,
        "distinct_error": round(abs(told["distinct"] - distinct) / distinct, 6),
        "counts_off": off,
    }


def _rank_error(
    connection: duckdb.DuckDBPyConnection, name: str, p: float, value: float, count: int
) -> float:
    """How far ``p`` is from the ranks that ``value`` has; equal values have a range of them."""
    query = f"SELECT count(*) FILTER ({name} < ?), count(*) FILTER ({name} <= ?) FROM t"
    below, up_to = connection.execute(query, [value, value]).fetchall()[0]
    return max(below / count - p, p - up_to / count, 0.0)
