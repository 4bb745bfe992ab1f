"""Ingest with DuckDB: copy the CSV to Parquet, then check and profile that with queries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
from rules import (
    BINS,
    CATEGORIES,
    FLOATS,
    INTEGERS,
    KEY,
    NAMES,
    NULL_LIMITS,
    NUMBERS,
    PROBABILITIES,
    RANGES,
    RULE,
    TIME,
    TOP,
    InvalidRows,
)
from versioning import version_folder
from worker import Job, serve

# Values of another type fail the read: this is the check of types.
TYPES = {
    **dict.fromkeys(FLOATS, "DOUBLE"),
    **dict.fromkeys(INTEGERS, "BIGINT"),
    **dict.fromkeys(CATEGORIES, "VARCHAR"),
    TIME: "TIMESTAMP",
}


def run(job: Job) -> dict[str, Any]:
    folder = job.work / "repo" / "rows"
    folder.mkdir(parents=True)
    path = folder / "rows.parquet"
    connection = duckdb.connect(config={"temp_directory": str(job.work / "spill")})
    with job.stage("read and write"):
        copy(connection, job.source, path)
    connection.execute(f"CREATE VIEW t AS SELECT * FROM read_parquet('{path}')")
    with job.stage("validate"):
        total = validate(connection)
    with job.stage("profile"):
        profile = {name: describe(connection, name) for name in NAMES}
    with job.stage("version"):
        version = version_folder(job.work / "repo", "rows")
    return {"rows": total, "version": version, "profile": profile}


def copy(connection: duckdb.DuckDBPyConnection, source: Path, path: Path) -> None:
    columns = ", ".join(f"'{name}': '{TYPES[name]}'" for name in NAMES)
    rows = f"read_csv('{source}/*.csv', header = true, columns = {{{columns}}})"
    connection.execute(
        f"COPY (SELECT * FROM {rows}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)"
    )


def validate(connection: duckdb.DuckDBPyConnection) -> int:
    """The number of rows. Raises InvalidRows."""
    tests = {
        f"nulls {name}": f"count(*) - count({name}) > {NULL_LIMITS.get(name, 0)} * count(*)"
        for name in NAMES
    }
    for name, (low, high) in RANGES.items():
        tests[f"range {name}"] = f"bool_or({name} NOT BETWEEN {low} AND {high})"
    for name, values in CATEGORIES.items():
        tests[f"categories {name}"] = f"bool_or({name} NOT IN {values})"
    tests["ordered"] = f"NOT bool_and({RULE})"
    tests["unique"] = f"count(DISTINCT {KEY}) < count(*)"
    answer = connection.execute(f"SELECT count(*), {', '.join(tests.values())} FROM t").fetchone()
    assert answer is not None
    total, *fails = answer
    if any(fails):
        raise InvalidRows([name for name, fail in zip(tests, fails, strict=True) if fail])
    return int(total)


def describe(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, Any]:
    def one(query: str) -> Any:
        return connection.execute(f"SELECT {query} FROM t").fetchone()

    count, nulls, distinct = one(f"count({name}), count(*) - count({name}), {_distinct(name)}")
    told: dict[str, Any] = {"count": count, "nulls": nulls, "distinct": distinct}
    if name in CATEGORIES:
        top = f"SELECT {name}, count(*) AS n FROM t GROUP BY 1 ORDER BY 2 DESC LIMIT {TOP}"
        return told | {"top": connection.execute(top).fetchall()}
    number = f"epoch({name})" if name == TIME else name
    low, high, mean, std = one(
        f"min({number}), max({number}), avg({number}), stddev_samp({number})"
    )
    told |= {"min": low, "max": high, "mean": mean, "std": std}
    told["quantiles"] = one(f"quantile_disc({number}, {list(PROBABILITIES)})")[0]
    if name in NUMBERS:
        place = f"least(floor(({name} - {low}) * {BINS} / ({high - low or 1})), {BINS - 1})"
        query = f"SELECT {place} AS bin, count(*) FROM t WHERE {name} IS NOT NULL GROUP BY 1"
        told["histogram"] = sorted(connection.execute(query).fetchall())
    return told


def _distinct(name: str) -> str:
    return f"count(DISTINCT {name})" if name in CATEGORIES else f"approx_count_distinct({name})"


if __name__ == "__main__":
    raise SystemExit(serve(run))
