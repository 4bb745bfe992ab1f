"""Ingest with pandas and pandera, the whole dataset in memory. Option: the CSV engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals
from pandas_checks import pandas_schema
from rules import BINS, CATEGORIES, FLOATS, INTEGERS, NAMES, NUMBERS, PROBABILITIES, TIME, TOP
from versioning import version_folder
from worker import Job, serve

DTYPES: dict[str, str] = {
    **dict.fromkeys(FLOATS, "float64"),
    **dict.fromkeys(INTEGERS, "int64"),
    **dict.fromkeys(CATEGORIES, "category"),
}


def run(job: Job) -> dict[str, Any]:
    with job.stage("read"):
        frame = read(job)
    with job.stage("validate"):
        pandas_schema().validate(frame, lazy=True)
    with job.stage("profile"):
        profile = {name: describe(frame[name]) for name in NAMES}
    with job.stage("write"):
        folder = job.work / "repo" / "rows"
        folder.mkdir(parents=True)
        frame.to_parquet(folder / "rows.parquet", compression="zstd", index=False)
    with job.stage("version"):
        version = version_folder(job.work / "repo", "rows")
    return {"rows": len(frame), "version": version, "profile": profile}


def read(job: Job) -> pd.DataFrame:
    parts = [
        pd.read_csv(path, dtype=DTYPES, parse_dates=[TIME], engine=job.option or "c")
        for path in job.files
    ]
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Any] = {}
    for name in NAMES:
        # One column at a time, and its parts go: a plain concat would hold everything twice.
        pieces = [part.pop(name) for part in parts]
        columns[name] = (
            union_categoricals(pieces, sort_categories=True)
            if name in CATEGORIES
            else np.concatenate([piece.to_numpy() for piece in pieces])
        )
    return pd.DataFrame(columns, copy=False)


def describe(column: pd.Series) -> dict[str, Any]:
    told: dict[str, Any] = {"count": int(column.count()), "nulls": int(column.isna().sum())}
    if column.name in CATEGORIES:
        counts = column.value_counts()
        return told | {"distinct": int((counts > 0).sum()), "top": counts.head(TOP).to_dict()}
    told["distinct"] = int(column.nunique())
    told |= {"min": column.min(), "max": column.max(), "mean": column.mean(), "std": column.std()}
    told["quantiles"] = column.quantile(list(PROBABILITIES)).tolist()
    if column.name in NUMBERS:
        counts, edges = np.histogram(column.dropna().to_numpy(), bins=BINS)
        told["histogram"] = [edges.tolist(), counts.tolist()]
    return told


if __name__ == "__main__":
    raise SystemExit(serve(run))
