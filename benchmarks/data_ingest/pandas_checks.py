"""The declared rules as a pandera schema for pandas."""

from __future__ import annotations

from typing import Any

from pandera.pandas import Check, Column, DataFrameSchema
from rules import (
    CATEGORIES,
    FLOATS,
    INTEGERS,
    KEY,
    LARGER,
    NULL_LIMITS,
    RANGES,
    SMALLER,
    TIME,
)


def pandas_schema(unique: bool = True) -> DataFrameSchema:
    """``unique=False`` leaves out what one block cannot tell."""
    columns = {name: _column("float64", name) for name in FLOATS}
    columns |= {name: _column("int64", name) for name in INTEGERS}
    columns |= {name: _column("category", name) for name in CATEGORIES}
    columns[TIME] = Column("datetime64[ns]")
    columns[KEY] = Column("int64", unique=unique)
    ordered = Check(lambda frame: frame[LARGER] >= frame[SMALLER], name="ordered")
    return DataFrameSchema(columns, checks=[ordered], strict=True)


def _column(dtype: str, name: str) -> Column:
    checks: list[Any] = []
    if name in RANGES:
        checks.append(Check.in_range(*RANGES[name]))
    if name in CATEGORIES:
        checks.append(Check.isin(CATEGORIES[name]))
    if name in NULL_LIMITS:
        limit = NULL_LIMITS[name]
        checks.append(Check(lambda column: column.isna().mean() <= limit, ignore_na=False))
    return Column(dtype, checks=checks, nullable=name in NULL_LIMITS)
