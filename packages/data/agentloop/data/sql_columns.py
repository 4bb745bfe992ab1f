"""Columns of Arrow's types out of what databases hand over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from agentloop.contracts.errors import SourceUnreadable


def plain_table(table: pa.Table, shown: str) -> pa.Table:
    """Integers as int64, decimals and what is wider as float64, enums and times of day as text.

    Raises SourceUnreadable for a column of bytes, lists or structures.
    """
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = plain_type(column.type)
        if kind is None:
            raise no_plain_value(shown, name, str(column.type))
        columns.append(column.cast(kind, safe=not pa.types.is_floating(kind)))
    return pa.table(columns, table.column_names)


def plain_type(kind: pa.DataType) -> pa.DataType | None:
    is_ = pa.types
    if is_.is_dictionary(kind):
        return plain_type(kind.value_type)
    if is_.is_uint64(kind) or is_.is_floating(kind) or is_.is_decimal(kind):
        return pa.float64()
    if is_.is_integer(kind):
        return pa.int64()
    if is_.is_timestamp(kind):
        # Nanoseconds stay: cutting them to what is stored is the caller's to decide.
        return kind if kind.unit == "ns" else pa.timestamp("us", kind.tz)
    if is_.is_boolean(kind) or is_.is_date32(kind) or is_.is_null(kind):
        return kind
    if is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind):
        return pa.string()
    return pa.string() if is_.is_time(kind) else None


def text_as(values: Sequence[str | None], kind: pa.DataType, shown: str, name: str) -> pa.Array:
    """Text that a server wrote, in the type ``kind``. Raises SourceUnreadable with the first value
    that does not fit, for instance ``infinity`` as a date."""
    array = pa.array(values, pa.string())
    if pa.types.is_string(kind):
        return array
    try:
        return array.cast(kind)
    except pa.ArrowInvalid as error:
        raise SourceUnreadable(
            shown,
            f"column '{name}' holds what {kind} cannot: {str(error).splitlines()[0]}",
            next_step="leave these rows out in a query, or cast the column to text there",
        ) from None


def loose_column(values: Sequence[Any], declared: str, shown: str, name: str) -> pa.Array:
    """Values of SQLite, which has types a value and not a column: the narrowest type that holds
    them all, helped by the ``declared`` type of the column ("" where it has none)."""
    declared = declared.upper()
    kinds = set(map(type, values)) - {type(None)}
    if bytes in kinds:
        raise no_plain_value(shown, name, "bytes")
    if not kinds:
        return pa.nulls(len(values), _declared_type(declared))
    if kinds == {str}:
        return _times(pa.array(values, pa.string()), declared)
    if str in kinds:
        return pa.array([None if v is None else str(v) for v in values], pa.string())
    if float in kinds or _declared_type(declared) == pa.float64():
        if int in kinds:  # Arrow refuses integers that a float rounds
            values = [None if v is None else float(v) for v in values]
        return pa.array(values, pa.float64())
    array = pa.array(values, pa.int64())
    if "BOOL" in declared and not set(values) - {0, 1, None}:
        return array.cast(pa.bool_())
    return array


def _declared_type(declared: str) -> pa.DataType:
    """By SQLite's rules of affinity (https://www.sqlite.org/datatype3.html, 3.1), in their order,
    after the three kinds that it has no type for."""
    for word, kind in (
        ("BOOL", pa.bool_()),
        ("DATE", pa.timestamp("us")),
        ("TIME", pa.timestamp("us")),
        ("INT", pa.int64()),
        ("CHAR", pa.string()),
        ("CLOB", pa.string()),
        ("TEXT", pa.string()),
        ("REAL", pa.float64()),
        ("FLOA", pa.float64()),
        ("DOUB", pa.float64()),
        ("NUM", pa.float64()),
        ("DEC", pa.float64()),
    ):
        if word in declared:
            return kind
    return pa.null()


def _times(array: pa.Array, declared: str) -> pa.Array:
    """Text declared as dates or times as such, where each value is one."""
    if _declared_type(declared) != pa.timestamp("us"):
        return array
    zoned = pc.any(pc.match_substring_regex(array, r"(Z|[+-]\d\d:?\d\d)$")).as_py()
    try:
        return array.cast(pa.timestamp("us", "UTC" if zoned else None))
    except pa.ArrowInvalid:
        return array


def no_plain_value(shown: str, name: str, kind: str) -> SourceUnreadable:
    return SourceUnreadable(
        shown,
        f"column '{name}' holds {kind}, not one plain value a row",
        next_step="leave the column out, or cast it to text in a query",
    )
