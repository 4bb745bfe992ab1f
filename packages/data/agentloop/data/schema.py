"""What the columns of a batch must be: declared first, else as they were, else as they look."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import replace

from agentloop.contracts.data import ColumnKind, ColumnSchema, DataSchema
from agentloop.contracts.errors import SchemaMismatch, TargetMissing
from agentloop.contracts.spec import DataSourceConfig

MAX_DIFFERENCES = 10
Kinds = dict[str, ColumnKind]

# A kind that was frozen also takes in what looks like these: all values of a number column may
# happen to be whole, all of a category column may happen to be digits.
_WIDER: dict[ColumnKind, tuple[ColumnKind, ...]] = {
    "number": ("integer", "boolean"),
    "integer": ("boolean",),
    "category": ("text", "integer", "boolean", "number"),
    "text": ("category", "integer", "boolean", "number", "datetime"),
    "boolean": ("integer",),
    "datetime": (),
}


def resolve_schema(
    inferred: Kinds, config: DataSourceConfig, source: str, frozen: DataSchema | None = None
) -> DataSchema:
    """The schema of a batch whose columns look like ``inferred`` (in file order, dropped ones
    left out); ``frozen`` is the schema of the dataset's last version.

    Raises TargetMissing, or SchemaMismatch for declared columns that are absent and for columns
    that came, went or changed since ``frozen`` without being declared.
    """
    check_target(inferred, config)
    absent = [_absent(name, inferred) for name in config.columns if name not in inferred]
    if absent:
        raise SchemaMismatch(
            source, tuple(absent[:MAX_DIFFERENCES]), next_step="fix the source, or data.columns"
        )
    kinds = dict(inferred)
    if frozen is not None:
        kinds = _held_to(frozen, inferred, config, source)
    columns = tuple(_declared(name, kind, config) for name, kind in kinds.items())
    return DataSchema(columns, config.target)


def undeclared_drops(names: list[str], config: DataSourceConfig) -> tuple[str, ...]:
    """One sentence for each dropped name that the source does not have."""
    return tuple(
        f"data.drop names '{name}', which is not in the source{_near(name, names)}"
        for name in config.drop
        if name not in names
    )


def check_target(names: Collection[str], config: DataSourceConfig) -> None:
    """Raises TargetMissing unless the target is one of ``names``, or derived by a step."""
    derived = {step.column for step in config.steps if step.kind == "derive"}
    if config.target not in names and config.target not in derived:
        near = difflib.get_close_matches(config.target, list(names), n=1, cutoff=0.5)
        raise TargetMissing(config.target, tuple(names), near[0] if near else None)


def _absent(name: str, inferred: Kinds) -> str:
    return f"column '{name}' is declared and not in the source{_near(name, list(inferred))}"


def _near(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def _held_to(frozen: DataSchema, inferred: Kinds, config: DataSourceConfig, source: str) -> Kinds:
    """``inferred``, in the order and with the kinds of ``frozen`` where they agree."""
    differences = []
    kept: Kinds = {}
    for column in frozen.columns:
        name, kind = column.name, column.kind
        if name not in inferred:
            if name not in config.drop:
                differences.append(f"column '{name}' ({kind}) is gone: list it under data.drop")
            continue
        looks = inferred[name]
        declared = name in config.columns and config.columns[name].kind is not None
        if looks == kind or looks in _WIDER[kind] or declared:
            kept[name] = kind
        else:
            differences.append(
                f"column '{name}' was {kind} and is {looks} now: declare its kind in data.columns"
            )
    for name, looks in inferred.items():
        if name not in kept and name not in frozen.names:
            if name not in config.columns:
                hint = "declare it under data.columns, or list it under data.drop"
                differences.append(f"column '{name}' ({looks}) is new: {hint}")
            kept[name] = looks
    if differences:
        step = "fix the source, or accept the change in loop.yaml as said on each line"
        raise SchemaMismatch(source, tuple(differences[:MAX_DIFFERENCES]), next_step=step)
    return kept


def _declared(name: str, kind: ColumnKind, config: DataSourceConfig) -> ColumnSchema:
    column = ColumnSchema(name, kind)
    spec = config.columns.get(name)
    if spec is None:
        return column
    return replace(
        column,
        kind=spec.kind or kind,
        nullable=spec.nullable,
        minimum=spec.minimum,
        maximum=spec.maximum,
        categories=spec.categories,
        unique=spec.unique,
        pattern=spec.pattern,
    )
