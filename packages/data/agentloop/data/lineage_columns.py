"""Which of a source's columns each column of a dataset is made of, from the steps in loop.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from agentloop.contracts.errors import DataError
from agentloop.contracts.spec import DataSourceConfig
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
from agentloop.lifecycle.lineage import ColumnInput

Origins = dict[str, tuple[ColumnInput, ...]]


def column_origins(
    config: DataSourceConfig, columns: Sequence[str], source: tuple[str, str]
) -> Mapping[str, tuple[ColumnInput, ...]]:
    """What each of the dataset's ``columns`` is made of, in ``source`` (namespace and name).

    A derived column lists what its expression reads, through other derived columns down to the
    source; one whose expression cannot be read is left out.
    """
    derived = {step.column for step in config.steps if isinstance(step, DeriveStep)}
    origins: Origins = {
        name: (ColumnInput(*source, name),)
        for name in dict.fromkeys((*columns, *config.drop))  # a step may read what is then dropped
        if name not in derived
    }
    unknown: set[str] = set()
    for step in config.steps:
        if isinstance(step, DeriveStep):
            _derive(step, origins, unknown, source)
        elif description := _description(step):
            for name in _touched(step):
                if name in origins:
                    origins[name] = _changed(origins[name], description)
    return {name: origins[name] for name in columns if name in origins}


def row_filters(config: DataSourceConfig, source: tuple[str, str]) -> tuple[ColumnInput, ...]:
    """The source's columns that decide which rows are in the dataset."""
    found = []
    if config.source.since and config.source.time_column:
        told = f"later than {config.source.since}"
        found.append(ColumnInput(*source, config.source.time_column, "FILTER", told))
    for step in config.steps:
        if isinstance(step, DropDuplicatesStep):
            found += [ColumnInput(*source, c, "FILTER", "drop duplicates") for c in step.columns]
    return tuple(dict.fromkeys(found))


def _derive(step: DeriveStep, origins: Origins, unknown: set[str], source: tuple[str, str]) -> None:
    from agentloop.data.sql_scalar import parse_scalar

    # A column derived out of itself begins as the source's.
    before = {step.column: (ColumnInput(*source, step.column),), **origins}
    try:
        read = parse_scalar(step.sql, tuple(before), step.column).columns
    except DataError:
        read = None
    if read is None or unknown & set(read):
        unknown.add(step.column)
        origins.pop(step.column, None)
        return
    unknown.discard(step.column)
    inputs = dict.fromkeys(
        replace(found, how="TRANSFORMATION", description=step.sql)
        for name in read
        for found in before[name]
    )
    origins[step.column] = tuple(inputs)


def _changed(inputs: tuple[ColumnInput, ...], description: str) -> tuple[ColumnInput, ...]:
    return tuple(
        replace(
            found,
            how="TRANSFORMATION",
            description=f"{found.description}; {description}" if found.description else description,
        )
        for found in inputs
    )


def _touched(step: StepSpec) -> tuple[str, ...]:
    if isinstance(step, MapStep | DeriveStep):
        return (step.column,)
    return step.columns


def _description(step: StepSpec) -> str:
    """One phrase for people; empty for a step that changes no value."""
    match step:
        case ImputeStep():
            return f"impute {step.statistic or repr(step.value)}"
        case ClipStep(quantiles=None):
            return f"clip to [{_bound(step.low)}, {_bound(step.high)}]"
        case ClipStep():
            return f"clip to quantiles {step.quantiles}"
        case CastStep():
            return f"cast to {step.to}"
        case MapStep():
            return f"map {len(step.values)} values"
        case ReplaceStep():
            return f"replace /{step.pattern}/ by {step.by!r}"
        case _:
            return ""


def _bound(value: float | None) -> str:
    return "…" if value is None else f"{value:g}"
