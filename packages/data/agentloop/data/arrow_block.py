"""One block of a batch: cast it, check its rows, summarise it. Runs inside Ray Data's workers."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from agentloop.contracts.data import ColumnSchema, DataSchema
from agentloop.data.arrow_cast import STORED_TYPES, Bad, cast_column, normalise
from agentloop.data.batch import CheckKey, Scale, ScanPlan, Tally
from agentloop.data.sketch import Floats, Summary, summarise_numbers, summarise_texts

REASONS = "_reasons"
# 3.5 (Iglewicz and Hoaglin 1993) is for one normal column; over many skewed ones it flags a third
# of a healthy table.
ANOMALY_SCORE = 20.0
NUMERIC = ("number", "integer")

Mask = npt.NDArray[np.bool_]
Failures = list[tuple[CheckKey, Mask, str]]


@dataclass(frozen=True, slots=True)
class Block:
    """A block's outcome. ``misfits`` maps a column to (row in block, value) of another kind."""

    total: int
    rows: pa.Table
    failing: pa.Table | None
    misfits: dict[str, Bad]
    tallies: dict[CheckKey, Tally]
    anomalies: int
    summaries: dict[str, Summary]


def inspect_block(table: pa.Table, plan: ScanPlan) -> Block:
    """Pure: the same block gives the same outcome."""
    typed, misfits = _cast_block(table, plan)
    failures = _check_rows(typed, plan.schema)
    tallies = {key: _tally(typed, key, mask) for key, mask, _ in failures}
    drop = _dropped(typed.num_rows, failures, plan)
    rows = typed.filter(pa.array(~drop)) if drop.any() else typed
    failing = _with_reasons(typed, failures, drop) if drop.any() else None
    return Block(
        typed.num_rows,
        rows,
        failing,
        misfits,
        tallies,
        _count_anomalies(rows, plan.scales),
        summarise_block(rows, plan.schema),
    )


def block_to_row(table: pa.Table, plan: ScanPlan) -> pa.Table:
    """``inspect_block`` in the shape of ``map_batches``: one row that holds the outcome."""
    outcome = pickle.dumps(inspect_block(table, plan), protocol=5)
    return pa.table({"block": pa.array([outcome], pa.large_binary())})


def arrow_schema(schema: DataSchema) -> pa.Schema:
    """The stored types of a schema's columns."""
    return pa.schema([(column.name, STORED_TYPES[column.kind]) for column in schema.columns])


def summarise_block(table: pa.Table, schema: DataSchema) -> dict[str, Summary]:
    return {c.name: _summarise(table.column(c.name), c) for c in schema.columns}


def numbers_of(column: Any) -> Floats:
    """float64 (rows,), NaN for null."""
    floats: Floats = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return floats


def _cast_block(table: pa.Table, plan: ScanPlan) -> tuple[pa.Table, dict[str, Bad]]:
    arrays, misfits = [], {}
    for column in plan.schema.columns:
        plain = normalise(table.column(column.name), plan.missing, plan.from_text)
        array, bad = cast_column(plain, column.kind)
        arrays.append(array)
        if bad:
            misfits[column.name] = bad
    return pa.Table.from_arrays(arrays, schema=arrow_schema(plan.schema)), misfits


def _check_rows(table: pa.Table, schema: DataSchema) -> Failures:
    failures: Failures = []
    for spec in schema.columns:
        column = table.column(spec.name)
        if spec.name == schema.target:
            failures.append((("target", spec.name), _mask(column.is_null()), "no target"))
        elif not spec.nullable:
            failures.append((("nulls", spec.name), _mask(column.is_null()), "no value"))
        failures += _check_values(column, spec)
    return [failure for failure in failures if failure[1].any()]


def _check_values(column: Any, spec: ColumnSchema) -> Failures:
    failures: Failures = []
    if spec.kind == "number":
        infinite = _mask(pc.is_inf(column))
        failures.append((("finite", spec.name), infinite, "infinite"))
    if spec.kind in NUMERIC:
        low, high = spec.minimum, spec.maximum
        values = numbers_of(column)
        if low is not None:
            failures.append((("minimum", spec.name), values < low, f"below {low:g}"))
        if high is not None:
            failures.append((("maximum", spec.name), values > high, f"above {high:g}"))
    if spec.kind == "category" and spec.categories is not None:
        known = pc.is_in(column, value_set=pa.array(spec.categories, pa.string()))
        unknown = _mask(pc.and_(pc.invert(known), column.is_valid()))
        failures.append((("categories", spec.name), unknown, "not a known category"))
    return failures


def _mask(condition: Any) -> Mask:
    mask: Mask = condition.fill_null(False).to_numpy(zero_copy_only=False)
    return mask.astype(bool)


def _tally(table: pa.Table, key: CheckKey, mask: Mask) -> Tally:
    first = np.flatnonzero(mask)[:3]
    values = table.column(key[1]).take(pa.array(first)).to_pylist()
    return Tally(int(mask.sum()), tuple(str(v) for v in values if v is not None))


def _dropped(rows: int, failures: Failures, plan: ScanPlan) -> Mask:
    """Rows set aside: every failing one, or with ``warn`` only those that cannot be learnt from."""
    drop = np.zeros(rows, bool)
    for (check, _), mask, _ in failures:
        if plan.on_failure != "warn" or check == "target":
            drop |= mask
    return drop


def _with_reasons(table: pa.Table, failures: Failures, drop: Mask) -> pa.Table:
    reasons = [
        "; ".join(f"{key[1]}: {told}" for key, mask, told in failures if mask[row])
        for row in np.flatnonzero(drop)
    ]
    return table.filter(pa.array(drop)).append_column(REASONS, pa.array(reasons, pa.string()))


def _count_anomalies(table: pa.Table, scales: tuple[Scale, ...]) -> int:
    """Rows with a robust z-score |x − median| / sigma past the limit in any column."""
    flagged = np.zeros(table.num_rows, bool)
    for scale in scales:
        score = np.abs(numbers_of(table.column(scale.name)) - scale.median) / scale.sigma
        flagged |= score > ANOMALY_SCORE
    return int(flagged.sum())


def _summarise(column: Any, spec: ColumnSchema) -> Summary:
    if spec.kind in ("category", "text"):
        counted = pc.value_counts(column.combine_chunks().drop_null())
        pairs = zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True)
        return summarise_texts(dict(pairs), column.null_count)
    if spec.kind == "datetime":
        column = pc.divide(column.cast(pa.int64()).cast(pa.float64(), safe=False), 1e6)
    elif spec.kind == "boolean":
        column = column.cast(pa.uint8())
    values = numbers_of(column)
    return summarise_numbers(values[np.isfinite(values)], column.null_count)
