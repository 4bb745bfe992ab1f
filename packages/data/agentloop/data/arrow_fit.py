"""From an outlook to a plan: fit the steps on the training split, then measure what is normal."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import pyarrow as pa

from agentloop.contracts.spec import DataSourceConfig, SplitSpec
from agentloop.data.arrow_block import source_rows, stored
from agentloop.data.arrow_extract import Extract, RawRows
from agentloop.data.arrow_plan import Outlook, with_scales
from agentloop.data.batch import ScanPlan
from agentloop.data.ray_scan import Place, run_job

# A work of ``run_job`` whose tables hold one pickled value.
Gather = Callable[[Callable[[RawRows, Place], pa.Table]], Iterator[Any]]


def complete(outlook: Outlook, extract: Extract, config: DataSourceConfig) -> ScanPlan:
    """The plan, its steps fitted and its scales measured. Ray must be ready if there are parts to
    fit on: each pass of fitting is a Ray Data job."""
    plan = outlook.plan
    if outlook.step_plan is not None:
        plan = replace(plan, steps=_fitted(outlook.step_plan, plan, extract, config.split))
    return with_scales(plan, _after_steps(plan, extract.head))


def _after_steps(plan: ScanPlan, head: pa.Table) -> pa.Table:
    table = source_rows(head, plan)
    if plan.steps is not None:
        from agentloop.data.arrow_steps import apply_steps

        table, _ = apply_steps(table, plan.steps)
    return stored(table, plan.schema)


def _fitted(step_plan: Any, plan: ScanPlan, extract: Extract, split: SplitSpec) -> Any:
    from agentloop.data.arrow_steps import begin_fit, finish_pass, merge_fits
    from agentloop.lifecycle.arrow_split import find_cut, is_positional, needs_cut

    so_far = begin_fit(step_plan)
    if not step_plan.needs_fit:
        return so_far
    gather = _gatherer(extract, plan)
    cut, offsets = None, dict[Place, int]()
    if needs_cut(split) or (is_positional(split) and extract.parts):
        counted = list(gather(_Count(plan, so_far, split, needs_cut(split))))
        rows = 0
        for place, found, _ in counted:
            offsets[place] = rows
            rows += found
        if needs_cut(split):
            cut = find_cut(reduce(lambda a, b: a.merge(b), [c for _, _, c in counted]), split)
    for _ in range(step_plan.passes):
        states = gather(_Learn(plan, so_far, split, cut, offsets))
        so_far = finish_pass(so_far, merge_fits(states))
    return so_far


def _gatherer(extract: Extract, plan: ScanPlan) -> Gather:
    """Runs a work over all rows and gives what it found, in order; here if the head holds all."""

    def locally(work: Callable[[RawRows, Place], pa.Table]) -> Iterator[Any]:
        yield from _values(work(RawRows(extract.head), (0, 0)))

    def with_ray(work: Callable[[RawRows, Place], pa.Table]) -> Iterator[Any]:
        for table in run_job(extract, plan.kinds, work):
            yield from _values(table)

    return with_ray if extract.parts else locally


@dataclass(frozen=True, slots=True)
class _Count:
    """How many rows a block has, and of the split's column what ``find_cut`` needs."""

    plan: ScanPlan
    so_far: Any
    split: SplitSpec
    with_values: bool

    def __call__(self, raw: RawRows, place: Place) -> pa.Table:
        from agentloop.data.arrow_steps import split_view
        from agentloop.lifecycle.arrow_split import count_block

        table = source_rows(raw.table, self.plan)
        view = split_view(self.so_far, table, self.split)
        counts = count_block(view, self.split) if self.with_values else None
        return _one((place, table.num_rows, counts))


@dataclass(frozen=True, slots=True)
class _Learn:
    """What a block's training rows add to the pass."""

    plan: ScanPlan
    so_far: Any
    split: SplitSpec
    cut: Any
    offsets: Mapping[Place, int]

    def __call__(self, raw: RawRows, place: Place) -> pa.Table:
        from agentloop.data.arrow_steps import fit_block

        table = source_rows(raw.table, self.plan)
        first = self.offsets.get(place, 0)
        return _one(fit_block(self.so_far, table, first, self.split, self.cut))


def _one(value: object) -> pa.Table:
    return pa.table({"value": pa.array([pickle.dumps(value, protocol=5)], pa.large_binary())})


def _values(table: pa.Table) -> Iterator[Any]:
    for value in table.column("value"):
        yield pickle.loads(value.as_buffer())
