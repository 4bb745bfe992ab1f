"""What steps learn from the training rows: mergeable, and the same however blocks are cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from agentloop.contracts.data import ColumnKind
from agentloop.contracts.errors import SchemaMismatch
from agentloop.contracts.spec_steps import ClipStep, ImputeStep, Plain, StepSpec
from agentloop.data.arrow_step_plan import StepPlan
from agentloop.data.exact_mean import ExactSum, sum_exactly
from agentloop.data.row_sample import RowSample, sample_rows

MAX_VALUES = 100_000

Mask = npt.NDArray[np.bool_]
Bounds = tuple[float, float]
FitKey = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Frequencies:
    """How often each value was seen; None once there are more than ``MAX_VALUES`` of them."""

    counts: Mapping[Any, int] | None

    def merge(self, other: Frequencies) -> Frequencies:
        if self.counts is None or other.counts is None:
            return Frequencies(None)
        counts = dict(self.counts)
        for value, seen in other.counts.items():
            counts[value] = counts.get(value, 0) + seen
        return Frequencies(counts if len(counts) <= MAX_VALUES else None)


Part = ExactSum | RowSample | Frequencies


@dataclass(frozen=True, slots=True)
class FitState:
    """What one pass saw, by (step, column)."""

    parts: Mapping[FitKey, Part]

    def merge(self, other: FitState) -> FitState:
        """Associative and commutative."""
        mine, more = self.parts, other.parts
        return FitState({key: mine[key].merge(more[key]) for key in mine})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class FittedSteps:
    """A plan, and what ``turn`` passes over the training rows gave. Complete once ``turn`` is
    ``plan.passes``. A value is None where no training row had one: the step then does nothing."""

    plan: StepPlan
    values: Mapping[FitKey, Plain | Bounds | None]
    turn: int = 0

    @property
    def is_complete(self) -> bool:
        return self.turn >= self.plan.passes

    def value(self, step: int, column: str) -> Plain | None:
        value = self.values[step, column]
        return None if isinstance(value, tuple) else value

    def bounds(self, step: int, column: str) -> tuple[float, float] | tuple[None, None]:
        value = self.values[step, column]
        return value if isinstance(value, tuple) else (None, None)


def begin_fit(plan: StepPlan) -> FittedSteps:
    """Before the first pass; complete already where nothing is fitted."""
    return FittedSteps(plan, {})


def merge_fits(states: Iterable[FitState]) -> FitState:
    """One state of all blocks, in any order. ``states`` must not be empty."""
    merged: FitState | None = None
    for state in states:
        merged = state if merged is None else merged.merge(state)
    if merged is None:
        raise ValueError("no state to merge: a pass saw no block")
    return merged


def finish_pass(so_far: FittedSteps, state: FitState) -> FittedSteps:
    """``so_far`` with what this pass learnt. Raises SchemaMismatch where the most frequent of
    more than 100,000 different values was asked for."""
    values = dict(so_far.values)
    for (index, column), part in state.parts.items():
        step, kind = so_far.plan.steps[index], so_far.plan.kinds[index][column]
        where = f"data.steps[{index}] ({step.kind}): '{column}'"
        values[index, column] = _settled(step, part, kind, where)
    return replace(so_far, values=values, turn=so_far.turn + 1)


def learn(step: StepSpec, array: pa.Array, kind: ColumnKind, trains: Mask, first_row: int) -> Part:
    """What the training rows of one column of a block add. ``array`` and ``trains``: (rows,)."""
    if isinstance(step, ImputeStep) and step.statistic == "most_frequent":
        return _count(array.filter(pa.array(trains)), kind)
    floats = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    use = trains & np.isfinite(floats)
    if isinstance(step, ImputeStep) and step.statistic == "mean":
        return sum_exactly(floats[use])
    return sample_rows(floats[use], np.flatnonzero(use) + first_row)


def _count(array: pa.Array, kind: ColumnKind) -> Frequencies:
    if kind == "datetime":
        array = array.cast(pa.int64())
    counted = pc.value_counts(array.drop_null())
    values, counts = counted.field("values").to_pylist(), counted.field("counts").to_pylist()
    return Frequencies({}).merge(Frequencies(dict(zip(values, counts, strict=True))))


def _settled(step: StepSpec, part: Part, kind: ColumnKind, where: str) -> Plain | Bounds | None:
    match part:
        case Frequencies():
            return _most_frequent(part, kind, where)
        case ExactSum():
            value = part.mean
        case RowSample():
            if isinstance(step, ClipStep) and step.quantiles is not None:
                found = part.quantiles(step.quantiles)
                return (found[0], found[1]) if found else None
            median = part.quantiles((0.5,))
            value = median[0] if median else None
    # A column of whole numbers stays one.
    return round(value) if value is not None and kind == "integer" else value


def _most_frequent(part: Frequencies, kind: ColumnKind, where: str) -> Plain | None:
    if part.counts is None:
        reason = f"{where} has more than {MAX_VALUES} different values: none of them is typical"
        raise SchemaMismatch("the steps", (reason,), next_step="choose another statistic")
    if not part.counts:
        return None
    value = min(part.counts, key=lambda value: (-part.counts[value], str(value)))  # type: ignore[index]
    if kind == "datetime":
        return str(pa.scalar(value, pa.timestamp("us")).cast(pa.string()).as_py())
    plain: Plain = value
    return plain
