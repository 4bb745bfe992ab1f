"""Which kinds steps lead from and to, and single values read as a kind."""

from __future__ import annotations

import math
import re

import pyarrow as pa
import pyarrow.compute as pc

from agentloop.contracts.data import ColumnKind
from agentloop.contracts.errors import SchemaMismatch
from agentloop.contracts.spec_steps import MapStep, Plain
from agentloop.data.arrow_cast import MAX_BAD, STORED_TYPES, cast_column

_NUMBERS: tuple[ColumnKind, ...] = ("number", "integer", "boolean", "category", "text")
_ALL: tuple[ColumnKind, ...] = (*_NUMBERS, "datetime")
# A number is no time without its unit and its epoch, which only an expression can name.
CASTS: dict[ColumnKind, tuple[ColumnKind, ...]] = {
    "number": _NUMBERS,
    "integer": _NUMBERS,
    "boolean": _NUMBERS,
    "category": _ALL,
    "text": _ALL,
    "datetime": ("datetime", "category", "text"),
}

_SQL_KINDS: tuple[tuple[str, ColumnKind], ...] = (
    (r"BOOLEAN", "boolean"),
    (r"U?TINYINT|U?SMALLINT|U?INTEGER|BIGINT", "integer"),
    (r'UBIGINT|U?HUGEINT|FLOAT|DOUBLE|BIGNUM|DECIMAL\(.*\)|"NULL"', "number"),
    (r"DATE|TIMESTAMP.*", "datetime"),
    (r"VARCHAR|UUID|ENUM\(.*\)", "category"),
)


def derived_kind(sql_type: str, is_target: bool) -> ColumnKind | None:
    """The kind of a column that an expression of this type gives; None if there is none. A target
    that is true or false is a category, as one that is read is."""
    for pattern, kind in _SQL_KINDS:
        if re.fullmatch(pattern, sql_type):
            return "category" if is_target and kind == "boolean" else kind
    return None


def map_kind(step: MapStep, kind: ColumnKind, is_target: bool) -> ColumnKind:
    """The kind of a column of ``kind`` once its values are mapped.

    It is that of the new values. Values that are kept must read as it, unless they make it wider:
    numbers that are kept beside new whole numbers. A target of classes stays one.
    """
    values = [*step.values.values(), step.otherwise]
    new = {_kind_of(value) for value in values if value is not None}
    if not new:
        return kind
    mapped = _join(new)
    if is_target and kind in ("category", "text", "boolean"):
        return "category"
    if kind == "datetime" and step.otherwise is None:
        return "category"
    if mapped == "category":
        return "text" if kind == "text" else "category"
    if step.otherwise is None and kind in ("number", "integer", "boolean"):
        mapped = _join({mapped, kind})
    return mapped


def as_kind(value: Plain | None, kind: ColumnKind) -> pa.Scalar | None:
    """The value in the stored type of ``kind``; None if it does not read as one."""
    if value is None or (kind == "datetime" and not isinstance(value, str)):
        return None
    array, bad = cast_column(pa.array([value]), kind)
    return None if bad else array[0]


def check_pattern(pattern: str, by: str, where: str) -> None:
    """Raises SchemaMismatch unless RE2 knows the pattern, and what is to replace it."""
    try:
        pc.replace_substring_regex(pa.array([""]), pattern, by)
    except pa.ArrowInvalid as error:
        reason = f"{where}: '{pattern}' is no regular expression for RE2: {error}"
        step = "RE2 has no look-around and no back-references"
        raise SchemaMismatch("the steps", (reason,), next_step=step) from None


def whole_between(low: float | None, high: float | None) -> bool:
    """Whether any whole number is neither below ``low`` nor above ``high``."""
    return low is None or high is None or math.ceil(low) <= math.floor(high)


def read_leniently(array: pa.Array, kind: ColumnKind) -> pa.Array:
    """Values as ``kind``; null where they do not read as one. Each different value is read once,
    and what fails is halved until the values that do not fit are alone."""
    coded = array.dictionary_encode()
    return _read(coded.dictionary, kind).take(coded.indices)


def _read(values: pa.Array, kind: ColumnKind) -> pa.Array:
    if not len(values):
        return pa.nulls(0, STORED_TYPES[kind])
    if len(values) <= MAX_BAD:
        return cast_column(values, kind)[0]
    array = _all_or_none(values, kind)
    if array is not None:
        return array
    middle = len(values) // 2
    halves = [_read(values.slice(0, middle), kind), _read(values.slice(middle), kind)]
    return pa.concat_arrays(halves)


def _all_or_none(values: pa.Array, kind: ColumnKind) -> pa.Array | None:
    # To boolean any number would cast; cast_column knows better, but stops at ten misfits.
    array, bad = cast_column(values, kind)
    return None if bad else array


def _kind_of(value: Plain) -> ColumnKind:
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case _:
            return "category"


def _join(kinds: set[ColumnKind]) -> ColumnKind:
    """The narrowest kind that holds values of all of them."""
    if len(kinds) == 1:
        return next(iter(kinds))
    if kinds <= {"integer", "number"}:
        return "number"
    if kinds <= {"boolean", "integer", "number"}:
        return _join(kinds - {"boolean"})
    return "category"
