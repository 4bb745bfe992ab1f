"""The declared rules as a pandera schema for polars, for one block: without uniqueness."""

from __future__ import annotations

from typing import Any

import polars as pl
from pandera.polars import Check, Column, DataFrameSchema
from rules import CATEGORIES, FLOATS, INTEGERS, LARGER, NULL_LIMITS, RANGES, SMALLER, TIME


def polars_schema() -> DataFrameSchema:
    columns = {name: _column(pl.Float64, name) for name in FLOATS}
    columns |= {name: _column(pl.Int64, name) for name in INTEGERS}
    columns |= {name: _column(pl.String, name) for name in CATEGORIES}
    columns[TIME] = Column(pl.Datetime("us"))
    checks: list[Any] = [Check(_ordered, name="ordered")]
    checks += [Check(_few_nulls(name, limit)) for name, limit in NULL_LIMITS.items()]
    return DataFrameSchema(columns, checks=checks, strict=True)


def _column(dtype: Any, name: str) -> Column:
    checks: list[Any] = []
    if name in RANGES:
        checks.append(Check.in_range(*RANGES[name]))
    if name in CATEGORIES:
        checks.append(Check.isin(CATEGORIES[name]))
    return Column(dtype, checks=checks, nullable=name in NULL_LIMITS)


def _ordered(data: Any) -> Any:
    return data.lazyframe.select(pl.col(LARGER) >= pl.col(SMALLER))


def _few_nulls(name: str, limit: float) -> Any:
    return lambda data: data.lazyframe.select(pl.col(name).is_null().mean() <= limit)
