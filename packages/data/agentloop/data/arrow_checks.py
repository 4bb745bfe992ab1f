"""Which rows of a block fail which checks. Each check is one pass of Arrow or numpy over a column.

Measured on the same rules (`benchmarks/data`, "block check"), pandera takes about as long on blocks
as casting, checking and finding anomalies take here. It is not used because its checks return no
mask of rows to set aside, and its report of failing rows is made row by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from agentloop.contracts.data import ColumnSchema
from agentloop.contracts.spec import RuleSpec
from agentloop.data.batch import MAX_EXAMPLES, CheckKey, Example, Scale, ScanPlan, Tally
from agentloop.data.sketch import Floats

# 3.5 (Iglewicz and Hoaglin 1993) is for one normal column; over many skewed ones it flags a third
# of a healthy table.
ANOMALY_SCORE = 20.0
NUMERIC = ("number", "integer")
SHOWN_COLUMNS, SHOWN_CHARACTERS = 20, 80

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Failure:
    """Rows that fail one check: bool (rows,), and the words for their ``_reasons``. ``values`` are
    those, by row, that the table cannot hold."""

    key: CheckKey
    mask: Mask
    told: str
    values: Mapping[int, str] = field(default_factory=dict)

    def reason(self, row: int) -> str:
        shown = f"'{self.values[row]}' " if row in self.values else ""
        return f"{self.key[1]}: {shown}{self.told}"


def check_rows(table: pa.Table, plan: ScanPlan) -> list[Failure]:
    """Every failing check of a block whose columns have their stored types."""
    found = [*_column_failures(table, plan), *_rule_failures(table, plan.checks.rules)]
    return [failure for failure in found if failure.mask.any()]


def find_anomalies(table: pa.Table, scales: tuple[Scale, ...]) -> list[Failure]:
    """Rows with a robust z-score |x − median| / sigma past the limit, a failure for each column
    that explains some of them."""
    failures = []
    for scale in scales:
        values = numbers_of(table.column(scale.name))
        reach = ANOMALY_SCORE * scale.sigma
        mask = (values > scale.median + reach) | (values < scale.median - reach)
        if mask.any():
            told = f"more than {ANOMALY_SCORE:g} robust deviations from {scale.median:.4g}"
            failures.append(Failure(("anomaly", scale.name), mask, told))
    return failures


def tally(table: pa.Table, failure: Failure, places: npt.NDArray[np.int64]) -> Tally:
    """``places``: int64 (rows,), where in the source each row is."""
    first = np.flatnonzero(failure.mask)[:MAX_EXAMPLES]
    column = failure.key[1]
    shown = table.column_names[:SHOWN_COLUMNS]
    if column in table.column_names and column not in shown:
        shown = [*shown[:-1], column]
    rows = table.select(shown).take(pa.array(first)).to_pylist()
    examples = tuple(
        Example(
            int(places[row]),
            failure.values.get(int(row)) or _text(values.get(column)),
            {name: _text(value) for name, value in values.items()},
        )
        for row, values in zip(first, rows, strict=True)
    )
    return Tally(int(failure.mask.sum()), examples)


def numbers_of(column: Any) -> Floats:
    """float64 (rows,), NaN for null."""
    if column.null_count == 0 and pa.types.is_float64(column.type):
        plain: Floats = column.to_numpy()
        return plain
    floats: Floats = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return floats


def _column_failures(table: pa.Table, plan: ScanPlan) -> Iterator[Failure]:
    for spec in plan.schema.columns:
        column = table.column(spec.name)
        if column.null_count and spec.name == plan.schema.target:
            yield Failure(("target", spec.name), as_mask(column.is_null()), "no target")
        elif column.null_count and not spec.nullable:
            yield Failure(("nulls", spec.name), as_mask(column.is_null()), "no value")
        if spec.kind in NUMERIC:
            yield from _number_failures(column, spec)
        else:
            yield from _text_failures(column, spec)


def _number_failures(column: Any, spec: ColumnSchema) -> Iterator[Failure]:
    if spec.kind == "integer" and spec.minimum is None and spec.maximum is None:
        return
    values = numbers_of(column)
    if spec.kind == "number":
        yield Failure(("finite", spec.name), np.isinf(values), "infinite")
    if spec.minimum is not None:
        low = spec.minimum
        yield Failure(("minimum", spec.name), values < low, f"below {low:g}")
    if spec.maximum is not None:
        high = spec.maximum
        yield Failure(("maximum", spec.name), values > high, f"above {high:g}")


def _text_failures(column: Any, spec: ColumnSchema) -> Iterator[Failure]:
    if spec.kind == "category" and spec.categories is not None:
        known = pc.is_in(column, value_set=pa.array(spec.categories, pa.string()))
        unknown = as_mask(pc.and_(pc.invert(known), column.is_valid()))
        yield Failure(("categories", spec.name), unknown, "not a known category")
    if spec.pattern is not None and spec.kind in ("category", "text"):
        matches = pc.match_substring_regex(column, f"^(?:{spec.pattern})$")
        told = f"does not match {spec.pattern}"
        yield Failure(("pattern", spec.name), as_mask(pc.invert(matches)), told)


def _rule_failures(table: pa.Table, rules: tuple[RuleSpec, ...]) -> Iterator[Failure]:
    if not rules:
        return
    from agentloop.data.duckdb_expressions import rule_mask

    for rule in rules:
        mask = rule_mask(rule.check, table)
        yield Failure(("rule", rule.name or rule.check), mask, f"breaks {rule.check}")


def as_mask(condition: Any) -> Mask:
    """bool (rows,), False for null."""
    mask: Mask = condition.fill_null(False).to_numpy(zero_copy_only=False)
    return mask.astype(bool)


def _text(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
