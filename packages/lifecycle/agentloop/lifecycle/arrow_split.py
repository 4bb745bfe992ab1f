"""Which rows are the test split. A row's side depends on what the rule names and nothing else.

``split_rows`` takes the columns of a stored version; ``training_mask`` takes one block of a batch,
so that blocks can be split in parallel tasks. Both give a row the same side.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.data import ColumnKind
from agentloop.contracts.errors import SchemaMismatch
from agentloop.contracts.spec import SplitSpec
from agentloop.lifecycle.split_text import (
    BUCKETS,
    bucket_of,
    distinct_of,
    present_in,
    seconds_of,
    texts_of,
    wanted_texts,
)

Mask = npt.NDArray[np.bool_]
Columns = Mapping[str, npt.NDArray[Any]]
Cut = float


@dataclass(frozen=True, slots=True)
class CutCounts:
    """How many rows there are, and how often the split's column has each value.

    Exact, so that the cut is that of the stored version: 16 bytes for each different time.
    """

    rows: int
    values: npt.NDArray[Any]
    counts: npt.NDArray[np.int64]

    def merge(self, other: CutCounts) -> CutCounts:
        values = np.concatenate([self.values, other.values])
        counts = np.concatenate([self.counts, other.counts])
        unique, places = np.unique(values, return_inverse=True)
        summed = np.bincount(places, weights=counts, minlength=len(unique)).astype(np.int64)
        return CutCounts(self.rows + other.rows, unique, summed)


def split_rows(
    columns: Columns,
    rows: int,
    spec: SplitSpec,
    kinds: Mapping[str, ColumnKind] | None = None,
) -> Mask:
    """bool (rows,), True for the test split.

    ``columns`` are as ``read_columns`` gives them: float64 (rows,) with NaN for null, or object
    (rows,) of str or None. ``kinds`` tells a datetime column from a number; without it ``at`` does,
    by being a date. Raises SchemaMismatch if the split's column is not there, is text where times
    are compared, cannot be compared with ``at``, or holds none of the ``values`` in any row.
    """
    name = column_needed(spec)
    if name is None:
        return _test_rows(None, 0, rows, spec, None, float(rows))
    if name not in columns:
        raise _absent(name, list(columns))
    values = columns[name]
    if spec.by == "time" and values.dtype == object:
        raise _no_time(name)
    cut = find_cut(_count(values), spec) if needs_cut(spec) else None
    test = _test_rows(values, 0, rows, spec, (kinds or {}).get(name), cut)
    if spec.by == "value" and rows and not test.any():
        raise _no_such_value(name, spec.values, values)
    return test


def split_mask(rows: int, spec: SplitSpec) -> Mask:
    """bool (rows,), True for the test split, by position and ``spec.seed`` alone (SplitMix64;
    Steele, Lea and Flood 2014), so that no row moves, not even when rows are added after it."""
    return _by_row(0, rows, spec)


def column_needed(spec: SplitSpec) -> str | None:
    """The column that the rule looks at."""
    return None if spec.by in ("row", "order") else spec.column


def is_positional(spec: SplitSpec) -> bool:
    """Whether a row's side depends on where it is, and so on which rows before it were dropped."""
    return column_needed(spec) is None


def needs_cut(spec: SplitSpec) -> bool:
    """Whether all rows must be counted before any block can be split."""
    return spec.by == "order" or (spec.by == "time" and spec.at is None)


def count_block(table: Any, spec: SplitSpec) -> CutCounts:
    """What ``find_cut`` needs of one block (a pyarrow Table). Raises SchemaMismatch."""
    if spec.by == "order":
        return CutCounts(table.num_rows, np.empty(0), np.empty(0, np.int64))
    return _count(_block_column(table, spec)[0])


def find_cut(counts: CutCounts, spec: SplitSpec) -> Cut | None:
    """For ``order`` the number of rows, for ``time`` the earliest value that tests, from the merged
    counts of all blocks. Ties stay on one side: of the two cuts around the asked-for share, the one
    that comes nearer. None if every time is the same or null: no row tests."""
    if spec.by == "order":
        return float(counts.rows)
    if len(counts.counts) < 2:
        return None
    latest = np.cumsum(counts.counts[::-1])[::-1]
    # The first value is no cut: it would leave nothing to train on.
    distance = np.abs(latest[1:] - spec.test * latest[0])
    return float(counts.values[1 + int(np.argmin(distance))])


def training_mask(table: Any, first_row: int, spec: SplitSpec, cut: Cut | None) -> Mask:
    """bool (rows,), True for the rows of a block (a pyarrow Table) that train.

    ``first_row`` is the block's first row among all rows, from 0; ``cut`` is what ``find_cut``
    said, where ``needs_cut``. Raises SchemaMismatch like ``split_rows``.
    """
    values, kind = _block_column(table, spec) if column_needed(spec) else (None, None)
    return ~_test_rows(values, first_row, table.num_rows, spec, kind, cut)


def _test_rows(
    values: npt.NDArray[Any] | None,
    first: int,
    rows: int,
    spec: SplitSpec,
    kind: ColumnKind | None,
    cut: Cut | None,
) -> Mask:
    match spec.by:
        case "order":
            total = 0.0 if cut is None else float(cut)
            return np.arange(first, first + rows) >= train_count(int(total), spec.test)
        case "hash" | "group":
            return _by_hash(values, first, rows, spec)
        case "time" if values is not None:
            return _by_time(values, spec, kind, cut)
        case "value" if values is not None:
            return _by_value(values, spec, kind)
        case _:
            return _by_row(first, rows, spec)


def train_count(rows: int, test: float) -> int:
    """How many rows train when the last ``test`` share of them tests, rounded down."""
    return math.floor(round(rows * (1 - test), 6))


def _by_row(first: int, rows: int, spec: SplitSpec) -> Mask:
    state = np.arange(first + 1, first + rows + 1, dtype=np.uint64)
    state += np.uint64(spec.seed % 2**32 << 32)
    uniform = (_mix(_mix(state)) >> np.uint64(11)).astype(np.float64) / 2**53
    mask: Mask = uniform < spec.test
    return mask


def _mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    z = state * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


def _by_hash(values: npt.NDArray[Any] | None, first: int, rows: int, spec: SplitSpec) -> Mask:
    # 0.07 * 100 is a little above 7 in floats, and would take in an eighth bucket.
    below = round(BUCKETS * spec.test, 9)
    if values is None:
        buckets = [bucket_of(spec.salt, str(row)) for row in range(first, first + rows)]
        return np.fromiter(buckets, np.int64, rows) < below
    unique, places = distinct_of(values)
    tests = np.array([bucket_of(spec.salt, key) < below for key in texts_of(unique)], bool)
    mask: Mask = tests[places]
    return mask


def _by_time(
    values: npt.NDArray[Any], spec: SplitSpec, kind: ColumnKind | None, cut: Cut | None
) -> Mask:
    if spec.at is not None:
        cut = _as_time(spec.at, spec.column, kind)
    if cut is None:
        return np.zeros(len(values), bool)
    mask: Mask = values >= cut  # False for NaN
    return mask


def _by_value(values: npt.NDArray[Any], spec: SplitSpec, kind: ColumnKind | None) -> Mask:
    unique, places = distinct_of(values)
    if kind == "datetime":
        times = {_as_time(v, spec.column, kind) for v in spec.values}
        tests = np.array([value in times for value in unique.tolist()], bool)
    else:
        wanted = wanted_texts(spec.values, is_number=values.dtype != object)
        found = [text in wanted for text in texts_of(unique)]
        tests = present_in(unique) & np.array(found, bool)
    mask: Mask = tests[places]
    return mask


def _as_time(text: str, column: str | None, kind: ColumnKind | None) -> Cut:
    try:
        if kind == "datetime":
            return seconds_of(text)
        return seconds_of(text) if kind is None and "-" in text[1:] else float(text)
    except ValueError:
        what = "a date or time" if kind == "datetime" else "a number"
        reason = f"data.split: '{text}' is not {what}, as column '{column}' is"
        raise SchemaMismatch("the split", (reason,), next_step="edit data.split") from None


def _count(values: npt.NDArray[Any]) -> CutCounts:
    unique, counts = np.unique(values[present_in(values)], return_counts=True)
    return CutCounts(len(values), unique, counts.astype(np.int64))


def _block_column(table: Any, spec: SplitSpec) -> tuple[npt.NDArray[Any], ColumnKind | None]:
    """The split's column as ``read_columns`` would give it, and its kind where that matters."""
    import pyarrow as pa

    name = spec.column or ""
    if name not in table.column_names:
        raise _absent(name, table.column_names)
    column = table.column(name)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        if spec.by == "time":
            raise _no_time(name)
        return column.to_numpy(zero_copy_only=False).astype(object), "text"
    if pa.types.is_timestamp(column.type):
        micros = column.cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.float64(), safe=False)
        return micros.to_numpy(zero_copy_only=False) / 1e6, "datetime"
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), "number"


def _absent(name: str, names: Iterable[str]) -> SchemaMismatch:
    near = difflib.get_close_matches(name, list(names), n=1)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    reason = f"data.split.column '{name}' is not in the data{hint}"
    return SchemaMismatch("the split", (reason,), next_step="edit data.split.column")


def _no_time(name: str) -> SchemaMismatch:
    reason = f"data.split.column '{name}' is text, which has no order in time"
    step = f"declare it: data.columns.{name}.kind: datetime, or split by another column"
    return SchemaMismatch("the split", (reason,), next_step=step)


def _no_such_value(name: str, wanted: tuple[str, ...], values: npt.NDArray[Any]) -> SchemaMismatch:
    found = sorted(set(texts_of(distinct_of(values)[0])) - {""})
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    reason = (
        f"data.split.values {', '.join(wanted)}: no row of '{name}' has one of them; "
        f"it has {', '.join(found[:5]) or 'nulls alone'}{more}"
    )
    return SchemaMismatch("the split", (reason,), next_step="edit data.split.values")
