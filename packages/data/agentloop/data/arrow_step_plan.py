"""What the steps of loop.yaml will do to columns: checked once, before any row is read.

A plan follows each column through the steps. It knows the kind that every step leaves behind, and
in which pass over the rows each fitted value can be learnt: a step that is fitted on a column that
an earlier step fills with a fitted value must wait for that one.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from agentloop.contracts.data import ColumnKind
from agentloop.contracts.errors import SchemaMismatch
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
from agentloop.data.arrow_step_kinds import (
    CASTS,
    as_kind,
    check_pattern,
    derived_kind,
    map_kind,
    whole_between,
)
from agentloop.data.duckdb_expressions import check_expression
from agentloop.data.sql_scalar import parse_scalar

Kinds = dict[str, ColumnKind]
NUMERIC = ("number", "integer")
TEXTUAL = ("category", "text")


@dataclass(frozen=True, slots=True)
class Fit:
    """A value that is learnt from the training rows: of ``column``, at the step of that index, in
    the pass of that number (from 0)."""

    step: int
    column: str
    turn: int


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Steps, the kinds of the columns before each of them (and, last, after all), and what is
    fitted. ``levels`` says of each final column how many passes must have been made before its
    values are known. Picklable."""

    steps: tuple[StepSpec, ...]
    kinds: tuple[Mapping[str, ColumnKind], ...]
    fits: tuple[Fit, ...]
    levels: Mapping[str, int]

    @property
    def kinds_after(self) -> Mapping[str, ColumnKind]:
        return self.kinds[-1]

    @property
    def passes(self) -> int:
        """How many passes over the rows it takes to fit all steps."""
        return max((fit.turn + 1 for fit in self.fits), default=0)

    @property
    def needs_fit(self) -> bool:
        return bool(self.fits)

    @property
    def row_local(self) -> bool:
        """Whether a row's outcome depends on no other row, once the steps are fitted."""
        return not any(isinstance(step, DropDuplicatesStep) for step in self.steps)

    @property
    def repeats_before_fit(self) -> bool:
        """Whether something is fitted after rows that are equal were to be dropped."""
        drops = [i for i, step in enumerate(self.steps) if isinstance(step, DropDuplicatesStep)]
        return bool(drops) and any(fit.step > drops[0] for fit in self.fits)


def plan_steps(
    kinds: Mapping[str, ColumnKind],
    steps: Sequence[StepSpec],
    target: str,
    split: SplitSpec | None = None,
) -> StepPlan:
    """Follow columns of these ``kinds``, in file order, through the steps. Pure.

    Raises SchemaMismatch (``data.steps[2] (clip): ...``) for a column that is not there at that
    point, naming the nearest, for a kind that the step cannot work on, and for a ``split`` whose
    column is only known once something is fitted on it; QueryRefused for an expression.
    """
    builder = _Builder(dict(kinds), target)
    before: list[Kinds] = []
    for index, step in enumerate(steps):
        before.append(dict(builder.kinds))
        builder.follow(index, step)
    plan = StepPlan(
        tuple(steps), (*before, dict(builder.kinds)), tuple(builder.fits), dict(builder.levels)
    )
    column = split.column if split is not None and split.by not in ("row", "order") else None
    if plan.needs_fit and column is not None and builder.levels.get(column, 0):
        reason = f"data.split: '{column}' is fitted by a step, and the split comes before fitting"
        raise SchemaMismatch("the steps", (reason,), next_step="split by another column")
    return plan


class _Builder:
    """The state of the columns between two steps."""

    def __init__(self, kinds: Kinds, target: str) -> None:
        self.kinds = kinds
        self.target = target
        self.levels = dict.fromkeys(kinds, 0)
        self.fits: list[Fit] = []
        self._rows_level = 0
        self._where = ""

    def follow(self, index: int, step: StepSpec) -> None:
        self._where = f"data.steps[{index}] ({step.kind})"
        match step:
            case ImputeStep():
                self._impute(index, step)
            case ClipStep():
                self._clip(index, step)
            case CastStep():
                self._cast(step)
            case MapStep():
                self._map(step)
            case ReplaceStep():
                self._need(step.columns, TEXTUAL)
                check_pattern(step.pattern, step.by, self._where)
            case DeriveStep():
                self._derive(step)
            case DropDuplicatesStep():
                self._drop_duplicates(step)

    def _impute(self, index: int, step: ImputeStep) -> None:
        if step.statistic in ("mean", "median"):
            self._need(step.columns, NUMERIC)
        else:
            self._need(step.columns)
        for column in dict.fromkeys(step.columns):
            if step.statistic is not None:
                self._fit(index, column)
            elif as_kind(step.value, self.kinds[column]) is None:
                self._refuse(f"'{step.value}' is no {self.kinds[column]}, as '{column}' is")

    def _clip(self, index: int, step: ClipStep) -> None:
        self._need(step.columns, NUMERIC)
        for column in dict.fromkeys(step.columns):
            if step.quantiles is not None:
                self._fit(index, column)
            elif self.kinds[column] == "integer" and not whole_between(step.low, step.high):
                self._refuse(f"no whole number is between {step.low} and {step.high}")

    def _cast(self, step: CastStep) -> None:
        for column in step.columns:
            self._need((column,))
            kind = self.kinds[column]
            if step.to not in CASTS[kind]:
                hint = "derive it with a SQL expression"
                self._refuse(f"'{column}' is a {kind}, which does not read as {step.to}: {hint}")
            self.kinds[column] = step.to

    def _map(self, step: MapStep) -> None:
        self._need((step.column,))
        kind = self.kinds[step.column]
        for value in step.values:
            if as_kind(value, kind) is None:
                self._refuse(f"'{value}' is no {kind}, as '{step.column}' is")
        self.kinds[step.column] = map_kind(step, kind, step.column == self.target)

    def _derive(self, step: DeriveStep) -> None:
        sql_type = check_expression(step.sql, self.kinds, self._where)
        kind = derived_kind(sql_type, step.column == self.target)
        if kind is None:
            self._refuse(f"'{step.sql}' gives {sql_type}, which no column can hold")
        used = parse_scalar(step.sql, tuple(self.kinds), self._where).columns
        self.levels[step.column] = max((self.levels[name] for name in used), default=0)
        self.kinds[step.column] = kind

    def _drop_duplicates(self, step: DropDuplicatesStep) -> None:
        keys = step.columns or tuple(self.kinds)
        self._need(keys)
        # Which rows are left is known only when the keys are, and every later fit needs that.
        self._rows_level = max(self._rows_level, *(self.levels[name] for name in keys))

    def _fit(self, index: int, column: str) -> None:
        turn = max(self.levels[column], self._rows_level)
        self.fits.append(Fit(index, column, turn))
        self.levels[column] = turn + 1

    def _need(self, columns: Sequence[str], kinds: Sequence[str] = ()) -> None:
        for column in columns:
            if column not in self.kinds:
                near = difflib.get_close_matches(column, list(self.kinds), n=1)
                hint = f" (did you mean '{near[0]}'?)" if near else ""
                self._refuse(f"column '{column}' is not in the data{hint}")
            if kinds and self.kinds[column] not in kinds:
                wanted = " or ".join(kinds)
                self._refuse(f"'{column}' is a {self.kinds[column]}, and must be {wanted}")

    def _refuse(self, reason: str) -> NoReturn:
        step = "edit that step in loop.yaml"
        raise SchemaMismatch("the steps", (f"{self._where}: {reason}",), next_step=step)
