"""The steps of loop.yaml, applied to blocks.

    plan   = plan_steps(kinds, config.steps, config.target, config.split)
    so_far = begin_fit(plan)
    for _ in range(plan.passes):                      # each pass in parallel, block by block
        state  = merge_fits(fit_block(so_far, block, first_row, split, cut) for ...)
        so_far = finish_pass(so_far, state)
    table, misfits = apply_steps(block, so_far)

Every step but ``drop_duplicates`` looks at one row at a time, so that blocks can be cut anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from agentloop.contracts.spec import SplitSpec
from agentloop.contracts.spec_steps import (
    CastStep,
    ClipStep,
    DeriveStep,
    DropDuplicatesStep,
    ImputeStep,
    MapStep,
    ReplaceStep,
    StepSpec,
)
from agentloop.data.arrow_cast import STORED_TYPES, Bad
from agentloop.data.arrow_keys import Words, duplicate_keys
from agentloop.data.arrow_step_fit import (
    FitState,
    FittedSteps,
    Mask,
    begin_fit,
    finish_pass,
    learn,
    merge_fits,
)
from agentloop.data.arrow_step_plan import Fit, StepPlan, plan_steps
from agentloop.data.arrow_step_values import (
    cast,
    clip,
    fill,
    map_values,
    replace_text,
    stored,
)
from agentloop.data.duckdb_expressions import evaluate
from agentloop.data.sql_scalar import parse_scalar
from agentloop.lifecycle.arrow_split import Cut, column_needed, training_mask

__all__ = [
    "Applied",
    "Fit",
    "FitState",
    "FittedSteps",
    "StepPlan",
    "apply_keyed",
    "apply_steps",
    "begin_fit",
    "duplicate_keys",
    "finish_pass",
    "fit_block",
    "merge_fits",
    "partial_fit",
    "plan_steps",
    "split_view",
]


@dataclass(frozen=True, slots=True)
class Applied:
    """A block after its steps: ``misfits`` maps a column to (row in block, value) of what could
    not be cast; ``keys`` holds, for each ``drop_duplicates`` in order, uint64 (rows, 2) that are
    equal where rows were equal when it was their turn."""

    table: pa.Table
    misfits: dict[str, Bad]
    keys: tuple[Words, ...]


def apply_steps(table: pa.Table, fitted: FittedSteps) -> tuple[pa.Table, dict[str, Bad]]:
    """The block (its columns in their stored types) after the steps, and misfits by column.

    Drops no row: repeats are found across blocks, by ``apply_keyed``'s keys. Raises SchemaMismatch
    where an expression fails on a row.
    """
    done = _run(table, fitted, keyed=False)
    return done.table(), done.misfits


def apply_keyed(table: pa.Table, fitted: FittedSteps) -> Applied:
    """Like ``apply_steps``, with the keys of repeats.

    While ``fitted`` is not complete, columns that are not known yet are null, and ``keys`` end at
    the first ``drop_duplicates`` that needs one of them: what a split by a column, and a pass that
    must not count repeats, need before they can begin.
    """
    done = _run(table, fitted, keyed=True)
    return Applied(done.table(), done.misfits, tuple(done.keys))


def partial_fit(so_far: FittedSteps, table: pa.Table, trains: Mask, first_row: int = 0) -> FitState:
    """What one block adds to the pass after those that ``so_far`` has seen. Small and picklable.

    ``trains`` is bool (rows,): rows that are not in the training split are never looked at.
    ``first_row`` is the block's first row among all rows, from 0, by which large columns are
    sampled.
    """
    parts = {}
    for fit, array in _run(table, so_far, keyed=False, until_fit=True).waiting:
        step = so_far.plan.steps[fit.step]
        kind = so_far.plan.kinds[fit.step][fit.column]
        parts[fit.step, fit.column] = learn(step, array, kind, trains, first_row)
    return FitState(parts)


def fit_block(
    so_far: FittedSteps, table: pa.Table, first_row: int, split: SplitSpec, cut: Cut | None
) -> FitState:
    """``partial_fit`` on the rows that train. ``cut`` is ``find_cut``'s, where one is needed."""
    trains = training_mask(split_view(so_far, table, split), first_row, split, cut)
    return partial_fit(so_far, table, trains, first_row)


def split_view(so_far: FittedSteps, table: pa.Table, split: SplitSpec) -> pa.Table:
    """The block as its split needs it: after the steps, where one of them makes its column."""
    name = column_needed(split)
    if name is None or not any(name in _changed(step) for step in so_far.plan.steps):
        return table
    return _run(table, so_far, keyed=False).table()


class _Run:
    """A block's columns on their way through the steps."""

    def __init__(self, table: pa.Table, fitted: FittedSteps) -> None:
        self.plan = fitted.plan
        self.fitted = fitted
        self.columns = {name: table.column(name) for name in fitted.plan.kinds[0]}
        self.rows = table.num_rows
        self.unknown: set[str] = set()
        self.misfits: dict[str, Bad] = {}
        self.keys: list[Words] = []
        self.waiting: list[tuple[Fit, pa.Array]] = []
        self._turns = {(fit.step, fit.column): fit for fit in fitted.plan.fits}

    def table(self) -> pa.Table:
        return pa.table(self.columns)

    def array(self, name: str) -> pa.Array:
        column = self.columns[name]
        return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column

    def step(self, index: int, step: StepSpec) -> None:
        """Each column that the step changes, unless it is not known yet."""
        for name in _changed(step):
            fit = self._turns.get((index, name))
            if fit is not None and fit.turn == self.fitted.turn:
                self.waiting.append((fit, self.array(name)))
            if self._is_known(index, step, name):
                self.columns[name] = self._changed(index, step, name)
                self.unknown.discard(name)
            else:
                kind = self.plan.kinds[index + 1][name]
                self.columns[name] = pa.nulls(self.rows, STORED_TYPES[kind])
                self.unknown.add(name)

    def _is_known(self, index: int, step: StepSpec, name: str) -> bool:
        if isinstance(step, DeriveStep):
            names = tuple(self.plan.kinds[index])
            used = parse_scalar(step.sql, names, step.kind).columns if self.unknown else ()
            return not self.unknown.intersection(used)
        fit = self._turns.get((index, name))
        return name not in self.unknown and (fit is None or fit.turn < self.fitted.turn)

    def _changed(self, index: int, step: StepSpec, name: str) -> pa.Array:
        kind, to = self.plan.kinds[index].get(name), self.plan.kinds[index + 1][name]
        if isinstance(step, DeriveStep) or kind is None:
            where = f"data.steps[{index}] (derive)"
            sql = step.sql if isinstance(step, DeriveStep) else ""
            return stored(evaluate(sql, self.table(), where), to)
        array = self.array(name)
        bad: Bad = []
        match step:
            case ImputeStep(value=value):
                value = value if value is not None else self.fitted.value(index, name)
                array = fill(array, value, kind)
            case ClipStep(quantiles=None):
                array = clip(array, step.low, step.high, inwards=True)
            case ClipStep():
                low, high = self.fitted.bounds(index, name)
                array = clip(array, low, high, inwards=False)
            case CastStep():
                array, bad = cast(array, kind, step)
            case MapStep():
                array, bad = map_values(array, kind, step, to)
            case ReplaceStep():
                array = replace_text(array, step.pattern, step.by)
        if bad:
            self.misfits.setdefault(name, bad)
        return array


def _run(table: pa.Table, fitted: FittedSteps, *, keyed: bool, until_fit: bool = False) -> _Run:
    run = _Run(table, fitted)
    last = max((f.step for f in fitted.plan.fits if f.turn == fitted.turn), default=-1)
    keys_known = keyed
    for index, step in enumerate(fitted.plan.steps):
        if until_fit and index > last:
            break
        if isinstance(step, DropDuplicatesStep):
            names = step.columns or tuple(fitted.plan.kinds[index])
            keys_known = keys_known and not run.unknown.intersection(names)
            if keys_known:
                run.keys.append(duplicate_keys(run.table(), names))
        else:
            run.step(index, step)
    return run


def _changed(step: StepSpec) -> Iterator[str]:
    match step:
        case MapStep() | DeriveStep():
            yield step.column
        case ImputeStep() | ClipStep() | CastStep() | ReplaceStep():
            yield from dict.fromkeys(step.columns)
        case DropDuplicatesStep():
            return
