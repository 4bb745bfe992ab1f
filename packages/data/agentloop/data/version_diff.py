"""What changed between two versions of a dataset, as values and in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from agentloop.contracts.data import (
    ColumnProfile,
    ColumnSchema,
    DataProfile,
    DataSchema,
    DatasetVersion,
)
from agentloop.data.shape_distance import shape_distance

# Below these nothing is said in words; the figures are in ``columns`` all the same.
MIN_NULL_SHIFT = 0.01
MIN_VARIATION = 0.05
MIN_MEDIAN_SHIFT = 0.1
MAX_LISTED = 5


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """A property of a column, or the target (column ``""``), that is another now."""

    column: str
    what: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class ColumnDiff:
    """A column that both versions have. Pairs are (before, after); rates and ``total_variation``
    and ``jensen_shannon`` (``shape_distance``) are in [0, 1]; ``median_shift`` is in interquartile
    ranges of the version before. None where a column has no such figure."""

    name: str
    kind: str
    null_rate: tuple[float, float]
    distinct: tuple[int, int]
    mean: tuple[float, float] | None = None
    median: tuple[float, float] | None = None
    median_shift: float | None = None
    total_variation: float | None = None
    jensen_shannon: float | None = None

    @property
    def change(self) -> float:
        """How much it changed, in [0, 1], for ranking."""
        nulls = abs(self.null_rate[1] - self.null_rate[0])
        return max(nulls, self.total_variation or 0.0)


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """Two versions compared; ``columns`` that changed most first, ``words`` the most important
    first."""

    dataset: str
    before: str
    after: str
    rows: tuple[int, int]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    schema: tuple[SchemaChange, ...]
    columns: tuple[ColumnDiff, ...]
    words: tuple[str, ...]


def compare_versions(
    before: DatasetVersion,
    after: DatasetVersion,
    profile_before: DataProfile,
    profile_after: DataProfile,
) -> VersionDiff:
    """Compare schemas, row counts and profiles."""
    old, new = before.schema, after.schema
    added = tuple(name for name in new.names if name not in old.names)
    removed = tuple(name for name in old.names if name not in new.names)
    known = {column.name: column for column in profile_before.columns}
    shared = [c for c in profile_after.columns if c.name in known and c.name not in added]
    columns = sorted((_compare(known[c.name], c) for c in shared), key=lambda d: -d.change)
    rows = (before.rows, after.rows)
    schema = tuple(_schema_changes(old, new))
    words = tuple(_words(before, after, added, removed, schema, tuple(columns)))
    return VersionDiff(
        before.name,
        before.version,
        after.version,
        rows,
        added,
        removed,
        schema,
        tuple(columns),
        words,
    )


def _schema_changes(old: DataSchema, new: DataSchema) -> Iterator[SchemaChange]:
    if old.target != new.target:
        yield SchemaChange("", "target", old.target, new.target)
    known = {column.name: column for column in old.columns}
    for column in new.columns:
        if column.name in known:
            yield from _column_changes(known[column.name], column)


def _column_changes(old: ColumnSchema, new: ColumnSchema) -> Iterator[SchemaChange]:
    for field in fields(ColumnSchema):
        was, now = getattr(old, field.name), getattr(new, field.name)
        if was != now:
            yield SchemaChange(new.name, field.name, was, now)


def _compare(before: ColumnProfile, after: ColumnProfile) -> ColumnDiff:
    same = before.kind == after.kind
    distance = shape_distance(before, after) if same else None
    median = _pair(before.quantiles.get("0.5"), after.quantiles.get("0.5"))
    spread = before.quantiles.get("0.75", 0.0) - before.quantiles.get("0.25", 0.0)
    return ColumnDiff(
        after.name,
        after.kind,
        (before.null_rate, after.null_rate),
        (before.distinct, after.distinct),
        _pair(before.mean, after.mean),
        median,
        (median[1] - median[0]) / spread if median and spread > 0 else None,
        distance.total_variation if distance else None,
        distance.jensen_shannon if distance else None,
    )


def _pair(before: float | None, after: float | None) -> tuple[float, float] | None:
    return None if before is None or after is None else (before, after)


def _words(
    before: DatasetVersion,
    after: DatasetVersion,
    added: tuple[str, ...],
    removed: tuple[str, ...],
    schema: tuple[SchemaChange, ...],
    columns: tuple[ColumnDiff, ...],
) -> Iterator[str]:
    if before.version == after.version:
        yield "They are the same version."
        return
    yield from (f"'{name}' is gone ({before.schema.column(name).kind})" for name in removed)
    yield from (f"'{name}' is new ({after.schema.column(name).kind})" for name in added)
    yield from map(_schema_words, schema)
    if before.rows != after.rows:
        share = f" ({after.rows / before.rows - 1:+.1%})" if before.rows else ""
        yield f"{before.rows:,} rows became {after.rows:,}{share}"
    moved = [text for column in columns for text in _column_words(column)]
    yield from moved
    if columns and not moved:
        yield "No column's values changed much"


def _schema_words(change: SchemaChange) -> str:
    if change.what == "target":
        return f"the target was '{change.before}' and is '{change.after}'"
    if change.what == "categories" and change.before is not None and change.after is not None:
        gone = [text for text in change.before if text not in change.after]
        new = [text for text in change.after if text not in change.before]
        parts = [f"lost {_listed(gone)}"] if gone else []
        parts += [f"gained {_listed(new)}"] if new else []
        return f"the categories of '{change.column}' {' and '.join(parts) or 'are in a new order'}"
    return f"'{change.column}': {change.what} was {_told(change.before)}, is {_told(change.after)}"


def _column_words(column: ColumnDiff) -> Iterator[str]:
    nulls = column.null_rate[1] - column.null_rate[0]
    if abs(nulls) >= MIN_NULL_SHIFT:
        yield f"'{column.name}': nulls {column.null_rate[0]:.1%} → {column.null_rate[1]:.1%}"
    shift, variation = column.median_shift, column.total_variation or 0.0
    if column.median and shift is not None and abs(shift) >= MIN_MEDIAN_SHIFT:
        old, new = column.median
        yield (
            f"'{column.name}': median {old:.4g} → {new:.4g} ({shift:+.1f} interquartile ranges); "
            f"{variation:.0%} of its values moved"
        )
    elif variation >= MIN_VARIATION:
        yield f"'{column.name}': {variation:.0%} of its values moved"


def _listed(texts: list[str]) -> str:
    shown = ", ".join(f"'{text}'" for text in texts[:MAX_LISTED])
    return f"{shown} and {len(texts) - MAX_LISTED} more" if len(texts) > MAX_LISTED else shown


def _told(value: Any) -> str:
    match value:
        case None:
            return "not set"
        case bool():
            return "yes" if value else "no"
        case tuple():
            return _listed([str(text) for text in value])
        case float():
            return f"{value:g}"
    return str(value)
