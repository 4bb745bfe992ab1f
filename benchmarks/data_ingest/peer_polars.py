"""Ingest with polars: stream the CSV to Parquet, then check and profile that, column by column."""

from __future__ import annotations

from typing import Any

import polars as pl
from rules import (
    BINS,
    CATEGORIES,
    FLOATS,
    INTEGERS,
    KEY,
    LARGER,
    NAMES,
    NULL_LIMITS,
    NUMBERS,
    PROBABILITIES,
    RANGES,
    SMALLER,
    TIME,
    TOP,
    InvalidRows,
)
from versioning import version_folder
from worker import Job, serve

# Values of another type fail the read: this is the check of types.
TYPES: dict[str, Any] = {
    **dict.fromkeys(FLOATS, pl.Float64),
    **dict.fromkeys(INTEGERS, pl.Int64),
    **dict.fromkeys(CATEGORIES, pl.String),
    TIME: pl.Datetime("us"),
}


def run(job: Job) -> dict[str, Any]:
    folder = job.work / "repo" / "rows"
    folder.mkdir(parents=True)
    path = folder / "rows.parquet"
    with job.stage("read and write"):
        schema = {name: TYPES[name] for name in NAMES}
        pl.scan_csv(job.source / "*.csv", schema=schema).sink_parquet(path, compression="zstd")
    rows = pl.scan_parquet(path)
    with job.stage("validate"):
        total = validate(rows)
    with job.stage("profile"):
        profile = {name: describe(rows, name) for name in NAMES}
    with job.stage("version"):
        version = version_folder(job.work / "repo", "rows")
    return {"rows": total, "version": version, "profile": profile}


def validate(rows: pl.LazyFrame) -> int:
    """The number of rows. Raises InvalidRows."""
    broken = [
        (pl.col(name).null_count() > NULL_LIMITS.get(name, 0) * pl.len()).alias(f"nulls {name}")
        for name in NAMES
    ]
    broken += [
        (~pl.col(name).is_between(low, high)).any().alias(f"range {name}")
        for name, (low, high) in RANGES.items()
    ]
    broken += [
        (~pl.col(name).is_in(list(values))).any().alias(f"categories {name}")
        for name, values in CATEGORIES.items()
    ]
    broken.append((pl.col(LARGER) < pl.col(SMALLER)).any().alias("ordered"))
    broken.append((pl.col(KEY).n_unique() < pl.len()).alias("unique"))
    found = (
        rows.select(*broken, pl.len().alias("rows")).collect(engine="streaming").row(0, named=True)
    )
    total = int(found.pop("rows"))
    if any(found.values()):
        raise InvalidRows([name for name, fails in found.items() if fails])
    return total


def describe(rows: pl.LazyFrame, name: str) -> dict[str, Any]:
    column = pl.col(name)
    values = rows.select(column).collect(engine="streaming").get_column(name)
    told: dict[str, Any] = {"count": values.count(), "nulls": values.null_count()}
    if name in CATEGORIES:
        counts = values.value_counts(sort=True)
        return told | {"distinct": counts.height, "top": counts.head(TOP).rows()}
    if name == TIME:
        values = values.dt.epoch("s")
    told["distinct"] = values.approx_n_unique()
    told |= {"min": values.min(), "max": values.max(), "mean": values.mean(), "std": values.std()}
    kept = values.drop_nulls().sort()
    told["quantiles"] = [kept[round(p * (kept.len() - 1))] for p in PROBABILITIES]
    if name in NUMBERS:
        told["histogram"] = kept.hist(bin_count=BINS).rows()
    return told


if __name__ == "__main__":
    raise SystemExit(serve(run))
