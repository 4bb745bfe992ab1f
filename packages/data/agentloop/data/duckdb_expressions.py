"""SQL expressions over the columns of a block: what loop.yaml derives and checks.

An expression is parsed, refused unless it is one scalar expression over the row's columns, written
anew from what was parsed (so that what was checked is what runs), and evaluated by DuckDB in
memory, in a connection that can reach neither files nor network nor its own settings.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from agentloop.contracts.data import ColumnKind
from agentloop.contracts.errors import QueryRefused, SchemaMismatch
from agentloop.data.arrow_cast import STORED_TYPES
from agentloop.data.sql_scalar import Scalar, parse_scalar

# An expression holds no state, so that its answer cannot depend on the block before.
_SETTINGS: dict[str, Any] = {
    "threads": 1,
    "memory_limit": "1GB",
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
_ROW_BY_ROW = frozenset({"PROJECTION", "PYTHON_ARROW_SCAN", "ARROW_SCAN", "EXPLAIN"})
_HINT = "make it fit every row: TRY_CAST gives null where CAST fails"
_local = threading.local()


def evaluate(expression: str, table: pa.Table, where: str = "the expression") -> pa.Array:
    """The expression's value in each row: an array (rows,) of the type that DuckDB gave it.

    Raises QueryRefused for what is not one scalar expression, SchemaMismatch for a column that the
    table does not have or a row that it fails on. ``where`` names the setting in errors.
    """
    scalar = _parsed(expression, tuple(table.column_names), where)
    if not scalar.columns:
        # DuckDB scans no rows of a table without columns.
        table = table.select(table.column_names[:1]).rename_columns(["_none"])
    else:
        table = table.select(list(scalar.columns)).rename_columns(list(scalar.places))
    try:
        relation = _connection().from_arrow(table).project(f"({scalar.sql}) AS v")
        values = relation.to_arrow_table().column("v")
    except duckdb.Error as error:
        raise _failed(where, error) from None
    if len(values) != table.num_rows:
        raise _not_row_by_row(where)
    return values.combine_chunks()


def check_expression(
    expression: str, kinds: Mapping[str, ColumnKind], where: str = "the expression"
) -> str:
    """The expression's SQL type, by preparing it on an empty table of these columns.

    Raises like ``evaluate``, also where it is an aggregate or gives other than one value a row.
    """
    scalar = _parsed(expression, tuple(kinds), where)
    fields = [(scalar.place(name), STORED_TYPES[kinds[name]]) for name in scalar.columns]
    empty = pa.schema(fields or [("_none", pa.int64())]).empty_table()
    connection = _connection()
    try:
        connection.register("_rows", empty)
        text = f"SELECT ({scalar.sql}) AS v FROM _rows"
        sql_type = str(connection.execute(f"DESCRIBE {text}").fetchall()[0][1])
        plan = connection.execute(f"EXPLAIN (FORMAT json) {text}").fetchall()[0][1]
    except duckdb.Error as error:
        raise _failed(where, error) from None
    if not _operators(json.loads(plan)) <= _ROW_BY_ROW:
        raise _not_row_by_row(where)
    return sql_type


def check_rule(
    rule_check: str, kinds: Mapping[str, ColumnKind], where: str = "data.checks.rules"
) -> None:
    """Raises like ``check_expression``, and SchemaMismatch where it is not true or false."""
    sql_type = check_expression(rule_check, kinds, where)
    if sql_type not in ("BOOLEAN", '"NULL"'):
        reason = f"{where}: '{rule_check}' gives {sql_type}, and must be true or false"
        raise SchemaMismatch("the rules", (reason,), next_step=f"edit {where} in loop.yaml")


def rule_mask(rule_check: str, table: pa.Table) -> npt.NDArray[np.bool_]:
    """bool (rows,), True where the rule fails. Null passes, as in a CHECK constraint."""
    held = evaluate(rule_check, table, f"the rule '{rule_check}'").cast(pa.bool_())
    mask: npt.NDArray[np.bool_] = held.fill_null(True).to_numpy(zero_copy_only=False)
    return ~mask.astype(bool)


@lru_cache(maxsize=256)
def _parsed(expression: str, names: tuple[str, ...], where: str) -> Scalar:
    return parse_scalar(expression, names, where)


def _connection() -> duckdb.DuckDBPyConnection:
    """This thread's connection; a DuckDB connection is not to be shared by threads."""
    connection = getattr(_local, "connection", None)
    if connection is None:
        connection = duckdb.connect(":memory:", config=_SETTINGS)
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET lock_configuration = true")
        _local.connection = connection
    return connection


def _operators(plan: list[dict[str, Any]]) -> frozenset[str]:
    found = {str(step.get("name", "")).strip() for step in plan}
    for step in plan:
        found |= _operators(step.get("children", []))
    return frozenset(found)


def _failed(where: str, error: duckdb.Error) -> SchemaMismatch:
    first = str(error).splitlines()[0]
    return SchemaMismatch("the rows", (f"{where}: {first}",), next_step=_HINT)


def _not_row_by_row(where: str) -> QueryRefused:
    reason = "it does not give one value for each row by itself (an aggregate, or rows)"
    return QueryRefused(where, reason, next_step=f"write {where} over one row's columns")
