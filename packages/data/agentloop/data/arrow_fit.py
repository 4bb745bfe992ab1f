"""From an outlook to a plan: fit the steps on the training split, then measure what is normal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa

from agentloop.contracts.spec import DataSourceConfig
from agentloop.data.arrow_block import read_as, stored
from agentloop.data.arrow_extract import Extract
from agentloop.data.arrow_plan import Outlook, with_scales
from agentloop.data.batch import ScanPlan


def complete(outlook: Outlook, extract: Extract, config: DataSourceConfig) -> ScanPlan:
    """The plan, its steps fitted and its scales measured. Ray must be ready if there are parts to
    fit on."""
    plan = outlook.plan
    if outlook.step_plan is not None:
        plan = replace(plan, steps=_fitted(outlook.step_plan, plan, extract, config))
    return with_scales(plan, _after_steps(plan, extract.head))


def _after_steps(plan: ScanPlan, head: pa.Table) -> pa.Table:
    table = read_as(head, plan)
    if plan.steps is not None:
        from agentloop.data.arrow_steps import apply_steps

        table, _ = apply_steps(table, plan.steps)
    return stored(table, plan.schema)


def _fitted(step_plan: Any, plan: ScanPlan, extract: Extract, config: DataSourceConfig) -> Any:
    raise SystemExit
