"""What columns must be: declared, frozen, inferred."""

from __future__ import annotations

from typing import Any

import pytest

from agentloop.contracts import DataSourceConfig, SchemaMismatch, TargetMissing
from agentloop.data.schema import Kinds, resolve_schema, undeclared_drops

LOOKS: Kinds = {"age": "integer", "town": "category", "label": "category"}


def config(**more: Any) -> DataSourceConfig:
    source = {"kind": "csv", "path": "rows.csv"}
    return DataSourceConfig.model_validate({"source": source, "target": "label", **more})


FROZEN = resolve_schema(LOOKS, config(), "rows.csv")


def resolve(looks: Kinds, **more: Any) -> dict[str, str]:
    schema = resolve_schema(looks, config(**more), "rows.csv", FROZEN)
    return {column.name: column.kind for column in schema.columns}


def test_a_declared_column_overrides_what_it_looks_like() -> None:
    spec = config(columns={"age": {"kind": "number", "minimum": 0, "nullable": False}})
    column = resolve_schema(LOOKS, spec, "rows.csv").column("age")
    assert (column.kind, column.minimum, column.nullable) == ("number", 0, False)


def test_a_missing_target_has_a_nearest() -> None:
    with pytest.raises(TargetMissing, match="Did you mean 'label'"):
        resolve_schema(LOOKS, config(target="lable"), "rows.csv")


def test_a_declared_column_that_is_absent_is_told() -> None:
    with pytest.raises(SchemaMismatch, match=r"'agee' is declared .*did you mean 'age'"):
        resolve_schema(LOOKS, config(columns={"agee": {}}), "rows.csv")


def test_at_most_ten_differences_are_told() -> None:
    columns: dict[str, Any] = {f"c{i}": {} for i in range(30)}
    with pytest.raises(SchemaMismatch) as caught:
        resolve_schema(LOOKS, config(columns=columns), "rows.csv")
    assert len(caught.value.differences) == 10


def test_a_later_batch_keeps_order_and_kinds() -> None:
    looks: Kinds = {"label": "category", "town": "text", "age": "boolean"}
    assert list(resolve(looks).items()) == list(LOOKS.items())


@pytest.mark.parametrize(
    ("looks", "told"),
    [
        ({**LOOKS, "size": "number"}, "column 'size' .number. is new: declare it"),
        ({"age": "integer", "label": "category"}, "'town' .category. is gone: list it under"),
        ({**LOOKS, "age": "text"}, "'age' was integer and is text now: declare its kind"),
    ],
)
def test_a_change_says_how_to_accept_it(looks: Kinds, told: str) -> None:
    with pytest.raises(SchemaMismatch, match=told):
        resolve(looks)


def test_changes_that_are_declared_are_accepted() -> None:
    looks: Kinds = {"age": "text", "label": "category", "size": "number"}
    accepted = resolve(looks, columns={"age": {"kind": "text"}, "size": {}}, drop=["town"])
    assert accepted == {"age": "text", "label": "category", "size": "number"}


def test_a_drop_that_names_nothing_is_remarked() -> None:
    remarks = undeclared_drops(list(LOOKS), config(drop=["twon"]))
    assert remarks == ("data.drop names 'twon', which is not in the source (did you mean 'town'?)",)
