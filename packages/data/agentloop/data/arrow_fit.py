"""From an outlook to a plan: fit the steps on the training split, then measure what is normal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa

from agentloop.contracts.spec import DataSourceConfig, SplitSpec
from agentloop.data.arrow_block import Place, source_rows, stored
from agentloop.data.arrow_checks import Mask
from agentloop.data.arrow_extract import Extract, RawRows
from agentloop.data.arrow_plan import Outlook, with_scales
from agentloop.data.arrow_work import Work
from agentloop.data.batch import ScanPlan
from agentloop.data.scan import run_job
from agentloop.data.seen import SeenKeys

Kept = Mapping[Place, Mask]


def complete(
    outlook: Outlook, extract: Extract, config: DataSourceConfig, kept: Kept | None = None
) -> ScanPlan:
    """The plan, its steps fitted and its scales measured. Each pass of fitting is a job
    like the scan itself. ``kept`` says which rows an earlier scan kept:
    the others take no part, and do not count where the split goes by position."""
    plan = outlook.plan
    if outlook.step_plan is not None:
        fit = _Fitting(plan, extract, config.split, kept or {})
        plan = replace(plan, steps=fit.run(outlook.step_plan))
    return with_scales(plan, _after_steps(plan, extract.head), complete=not extract.parts)


def is_fitted(outlook: Outlook) -> bool:
    """Whether a step is fitted, so that rows which are set aside must take no part."""
    return outlook.step_plan is not None and outlook.step_plan.needs_fit


def _counts_rows(split: SplitSpec) -> bool:
    from agentloop.lifecycle.arrow_split import is_positional, needs_cut

    return is_positional(split) or needs_cut(split)


def _after_steps(plan: ScanPlan, head: pa.Table) -> pa.Table:
    table = source_rows(head, plan)
    if plan.steps is not None:
        from agentloop.data.arrow_steps import apply_steps

        table, _ = apply_steps(table, plan.steps)
    return stored(table, plan.schema)


@dataclass
class _Fitting:
    """Fits steps in passes over all rows; here where the head holds all, else with Ray Data."""

    plan: ScanPlan
    extract: Extract
    split: SplitSpec
    kept: Kept

    def run(self, step_plan: Any) -> Any:
        from agentloop.data.arrow_steps import begin_fit, finish_pass, merge_fits

        so_far = begin_fit(step_plan)
        if not step_plan.needs_fit:
            return so_far
        kept, offsets, cut = self.kept, dict[Place, int](), None
        if _counts_rows(self.split) or step_plan.repeats_before_fit:
            kept, offsets, cut = self._survey(so_far, step_plan.repeats_before_fit)
        for _ in range(step_plan.passes):
            learn = _Learn(self.plan, so_far, self.split, cut, kept, offsets)
            so_far = finish_pass(so_far, merge_fits(self._gather(learn)))
        return so_far

    def _survey(self, so_far: Any, with_keys: bool) -> tuple[Kept, dict[Place, int], Any]:
        """Which rows take part, where each block begins among them, and the split's cut."""
        from agentloop.lifecycle.arrow_split import find_cut, needs_cut

        kept, offsets, rows, counts = dict(self.kept), dict[Place, int](), 0, []
        seen: list[SeenKeys] = []
        work = _Count(self.plan, so_far, self.split, needs_cut(self.split), with_keys, self.kept)
        for place, taken, found, keys in self._gather(work):
            if keys:
                mask = kept.get(place, np.ones(taken, bool)).copy()
                seen = seen or [SeenKeys() for _ in keys]
                for one, known in zip(keys, seen, strict=True):
                    mask[mask] = ~known.repeated(one[mask])
                kept[place] = mask
            offsets[place] = rows
            rows += int(kept[place].sum()) if place in kept else taken
            counts.append(found)
        # The cut is counted with repeats: they are a few rows, and share their originals' times.
        cut = find_cut(reduce(lambda a, b: a.merge(b), counts), self.split) if counts[0] else None
        return kept, offsets, cut

    def _gather(self, work: Work) -> Iterator[Any]:
        return run_job(self.extract, self.plan.kinds, work)


@dataclass(frozen=True, slots=True)
class _Count:
    """How many rows a block has, what ``find_cut`` needs of the split's column, and the keys of
    repeats."""

    plan: ScanPlan
    so_far: Any
    split: SplitSpec
    with_values: bool
    with_keys: bool
    kept: Kept

    def __call__(self, raw: RawRows, place: Place) -> Any:
        from agentloop.data.arrow_steps import apply_keyed, split_view
        from agentloop.lifecycle.arrow_split import count_block

        table = source_rows(raw.table, self.plan)
        keys = apply_keyed(table, self.so_far).keys if self.with_keys else ()
        taking = _taking(table, self.kept.get(place))
        view = split_view(self.so_far, taking, self.split)
        counts = count_block(view, self.split) if self.with_values else None
        return place, table.num_rows, counts, keys


@dataclass(frozen=True, slots=True)
class _Learn:
    """What a block's training rows add to the pass."""

    plan: ScanPlan
    so_far: Any
    split: SplitSpec
    cut: Any
    kept: Kept
    offsets: Mapping[Place, int]

    def __call__(self, raw: RawRows, place: Place) -> Any:
        from agentloop.data.arrow_steps import fit_block

        table = _taking(source_rows(raw.table, self.plan), self.kept.get(place))
        first = self.offsets.get(place, 0)
        return fit_block(self.so_far, table, first, self.split, self.cut)


def _taking(table: pa.Table, kept: Mask | None) -> pa.Table:
    return table if kept is None else table.filter(pa.array(kept))
