"""Look at a source's rows once, before Ray is needed, and plan the pass over all of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from agentloop.contracts.data import ColumnKind, DataSchema
from agentloop.contracts.errors import SchemaMismatch
from agentloop.contracts.spec import ColumnSpec, DataSourceConfig
from agentloop.data.arrow_cast import infer_kind, normalise
from agentloop.data.arrow_checks import NUMERIC, numbers_of
from agentloop.data.arrow_extract import Extract
from agentloop.data.arrow_step_kinds import check_pattern
from agentloop.data.batch import Accepted, Scale, ScanPlan
from agentloop.data.schema import Kinds, resolve_schema, undeclared_drops
from agentloop.data.sketch import Floats
from agentloop.data.times import parse_since

SAMPLE_ROWS = 100_000
TIME_KINDS = ("datetime", "number", "integer")


@dataclass(frozen=True, slots=True)
class Outlook:
    """A plan that only lacks what is fitted; ``step_plan`` is None without steps. ``notes`` are
    remarks on the configuration."""

    plan: ScanPlan
    step_plan: Any
    notes: tuple[str, ...]


def plan_scan(
    extract: Extract,
    config: DataSourceConfig,
    history: tuple[Accepted, ...] = (),
    since: str | None = None,
) -> Outlook:
    """Raises TargetMissing, SchemaMismatch; SourceUnreadable for a ``since`` that is no time."""
    looks = _looks(extract, config)
    step_plan = _plan_steps(looks, config)
    after: Kinds = dict(step_plan.kinds_after) if step_plan is not None else looks
    after = {name: kind for name, kind in after.items() if name not in config.drop}
    frozen = history[0].schema if history else None
    schema = resolve_schema(after, config, extract.source, frozen)
    reads = {
        name: schema.column(name).kind if _is_untouched(name, looks, after, schema) else kind
        for name, kind in looks.items()
    }
    _check_rules(config, schema)
    _check_columns(config, schema)
    _check_split(config, schema)
    step_plan = _plan_steps(reads, config)  # anew: what is declared may differ from what it looks
    plan = ScanPlan(
        schema=schema,
        kinds=reads,
        missing=config.missing,
        from_text=extract.from_text,
        checks=config.checks,
        scales=(),
        since=_since(config, reads, since, extract.source),
        time_column=config.source.time_column,
        repeats=sum(step.kind == "drop_duplicates" for step in config.steps),
    )
    return Outlook(plan, step_plan, undeclared_drops(extract.head.column_names, config))


def with_scales(plan: ScanPlan, head: pa.Table, complete: bool) -> ScanPlan:
    """The plan with centre and spread of every number column that has a spread. ``head``: rows
    after the steps, in their stored types; all there are if ``complete``."""
    return replace(plan, scales=tuple(_scales(head, plan.schema, complete)))


def _looks(extract: Extract, config: DataSourceConfig) -> Kinds:
    head = extract.head
    arrays = {
        name: normalise(head.column(name), config.missing, extract.from_text)
        for name in head.column_names
        if name not in config.drop or any(_uses(step, name) for step in config.steps)
    }
    kinds: Kinds = {}
    for name, array in arrays.items():
        changed = any(name in _cast_columns(step) for step in config.steps)
        inferred = infer_kind(
            array, name == config.target and not changed, extract.from_text, extract.kind == "jsonl"
        )
        kinds[name] = inferred if changed else _kind(inferred, config.columns.get(name))
    return kinds


def _kind(looks: ColumnKind, spec: ColumnSpec | None) -> ColumnKind:
    """What is declared, else what it looks like; bounds make a number of a column that one mistyped
    value makes look like text."""
    if spec is None or spec.kind is not None:
        return looks if spec is None or spec.kind is None else spec.kind
    bounded = spec.minimum is not None or spec.maximum is not None
    return "number" if bounded and looks in ("category", "text") else looks


def _uses(step: Any, name: str) -> bool:
    """Whether a step needs a column, which is then read though it is not kept."""
    if step.kind == "derive":
        return name in step.sql
    return name in (step.columns if hasattr(step, "columns") else (step.column,))


def _cast_columns(step: Any) -> tuple[str, ...]:
    """The columns whose kind a step may change: they are read as they look."""
    if step.kind in ("cast", "replace"):
        columns: tuple[str, ...] = step.columns
        return columns
    return (step.column,) if step.kind in ("map", "derive") else ()


def _plan_steps(looks: Kinds, config: DataSourceConfig) -> Any:
    if not config.steps:
        return None
    from agentloop.data.arrow_steps import plan_steps

    return plan_steps(looks, config.steps, config.target, config.split)


def _check_rules(config: DataSourceConfig, schema: DataSchema) -> None:
    if not config.checks.rules:
        return
    from agentloop.data.duckdb_expressions import check_rule

    kinds: Kinds = {column.name: column.kind for column in schema.columns}
    for index, rule in enumerate(config.checks.rules):
        check_rule(rule.check, kinds, f"data.checks.rules[{index}]")


def _check_columns(config: DataSourceConfig, schema: DataSchema) -> None:
    """Refuse a declaration that would never do anything."""
    for name, spec in config.columns.items():
        kind, where = schema.column(name).kind, f"data.columns.{name}"
        if spec.pattern is not None:
            check_pattern(spec.pattern, "", f"{where}.pattern")
        useless = {
            "pattern": spec.pattern is not None and kind not in ("category", "text"),
            "categories": spec.categories is not None and kind != "category",
            "minimum": spec.minimum is not None and kind not in NUMERIC,
            "maximum": spec.maximum is not None and kind not in NUMERIC,
        }
        for key in (key for key, is_useless in useless.items() if is_useless):
            told = f"{where}.{key} does nothing: column '{name}' is {kind}"
            raise SchemaMismatch("data.columns", (told,), next_step="remove it, or declare a kind")


def _check_split(config: DataSourceConfig, schema: DataSchema) -> None:
    name = config.split.column
    if name is not None and config.split.by not in ("row", "order") and name not in schema.names:
        near = difflib.get_close_matches(name, schema.names, n=1)
        told = f"data.split.column '{name}' is not in the data" + (
            f" (did you mean '{near[0]}'?)" if near else ""
        )
        raise SchemaMismatch("data.split", (told,), next_step="split by a column that is kept")


def _is_untouched(name: str, looks: Kinds, after: Kinds, schema: DataSchema) -> bool:
    return name in schema.names and looks.get(name) == after.get(name)


def _since(
    config: DataSourceConfig, kinds: Kinds, since: str | None, source: str
) -> tuple[str, float] | None:
    column = config.source.time_column
    if column is None:
        return None
    if column not in kinds:
        told = f"column '{column}' is data.source.time_column, and is not in the data"
        raise SchemaMismatch(source, (told,), next_step="name another column, or keep this one")
    kind: ColumnKind = kinds[column]
    if kind not in TIME_KINDS:
        told = f"column '{column}' is data.source.time_column, and is {kind}"
        raise SchemaMismatch(source, (told,), next_step="declare its kind under data.columns")
    return None if not since else (column, parse_since(since, kind, source))


def _scales(head: pa.Table, schema: DataSchema, complete: bool) -> Iterator[Scale]:
    """From evenly spaced rows. Sigma is the larger of 1.4826·MAD and IQR / 1.349: the first alone
    calls one hump of a column with two an anomaly.

    Of a source that goes on after its head, a column that drifts within the head (an identifier, a
    time, a trend) is left out: what is far from the head may be usual further down.
    """
    step = max(1, head.num_rows // SAMPLE_ROWS)
    places = pa.array(np.arange(0, head.num_rows, step))
    for column in schema.features:
        if column.kind not in NUMERIC:
            continue
        values = numbers_of(head.column(column.name).take(places).combine_chunks())
        values = values[np.isfinite(values)]
        if values.size:
            with np.errstate(over="ignore", invalid="ignore"):
                low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
                mad = float(np.median(np.abs(values - median)))
                sigma = max(1.4826 * mad, (high - low) / 1.349)
            if 0 < sigma < np.inf and (complete or not _drifts(values, float(sigma))):
                yield Scale(column.name, float(median), float(sigma))


def _drifts(values: Floats, sigma: float) -> bool:
    """Whether the medians of both halves differ by six standard errors, each of which is
    1.2533·sigma / √n."""
    half = values.size // 2
    if half == 0:
        return False
    moved = abs(float(np.median(values[:half]) - np.median(values[half:])))
    return moved > 6 * 1.2533 * sigma * float(np.sqrt(2 / half))
