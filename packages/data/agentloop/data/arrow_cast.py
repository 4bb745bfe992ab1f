"""Column kinds of a pyarrow Table: what they look like, and casting values to them."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from agentloop.contracts.data import ColumnKind

MAX_CLASSES = 50
MIN_CATEGORIES = 20
CATEGORY_SHARE = 0.05
MAX_BAD = 10  # told of
MAX_MISFITS = 1000

STORED_TYPES: dict[ColumnKind, pa.DataType] = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "datetime": pa.timestamp("us"),
    "category": pa.string(),
    "text": pa.string(),
}

Bad = list[tuple[int, str]]


def normalise(column: Any, missing: tuple[str, ...], from_text: bool) -> pa.Array:
    """The column as one plain array, with what stands for "missing" made null.

    Missing tokens are compared without the blanks around them; the blanks themselves are dropped
    only where the source is text (CSV), which cannot mean them. NaN is null.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if _is_text(array.type):
        array = array.cast(pa.string())
        trimmed = pc.utf8_trim_whitespace(array)
        is_missing = pc.is_in(trimmed, value_set=pa.array(missing, pa.string()))
        return pc.if_else(is_missing, None, trimmed if from_text else array)
    if pa.types.is_floating(array.type) or pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
        array = pc.if_else(pc.is_nan(array), None, array)
    tokens = _numbers_in(missing)
    if tokens and (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        is_missing = pc.is_in(array.cast(pa.float64(), safe=False), value_set=pa.array(tokens))
        array = pc.if_else(is_missing, None, array)
    return array


def infer_kind(
    array: pa.Array, is_target: bool, from_text: bool, has_no_times: bool = False
) -> ColumnKind:
    """The kind of a normalised array. Text is a category up to 20 distinct values or 5% of the
    rows; a target is a category up to 50 distinct whole numbers. ``has_no_times`` says that the
    source can only write a time as text (JSON)."""
    if _is_text(array.type) and from_text:
        array = _parsed(array)
    elif _is_text(array.type) and has_no_times and len(array) > array.null_count:
        array = _parsed_times(array)
    if pa.types.is_boolean(array.type):
        return "category" if is_target else "boolean"
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        whole = pa.types.is_integer(array.type)
        if is_target and (whole or _is_whole(array)) and _distinct(array) <= MAX_CLASSES:
            return "category"
        return "integer" if whole and array.type != pa.uint64() else "number"
    if pa.types.is_date(array.type) or pa.types.is_timestamp(array.type):
        return "datetime"
    if pa.types.is_null(array.type) or len(array) == array.null_count:
        return "category" if is_target else "number"
    text = array.cast(pa.string())
    few = max(MIN_CATEGORIES, CATEGORY_SHARE * len(text))
    return "category" if is_target or _distinct(text) <= few else "text"


def cast_column(array: pa.Array, kind: ColumnKind) -> tuple[pa.Array, Bad]:
    """The array in the stored type of ``kind``, and up to a thousand (row, value) that do not fit.

    Values that do not fit are null in the result.
    """
    wanted = STORED_TYPES[kind]
    if kind == "category" and pa.types.is_floating(array.type) and _is_whole(array):
        # A whole number reads the same whether a null made its column one of floats or not.
        array = array.cast(pa.int64(), safe=False)
    try:
        return _cast(array, wanted), []
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        bad: Bad = []
        return _cast_by_halves(array, wanted, 0, bad), bad


def _cast(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(array.type) and array.type.tz is not None:
        array = array.cast(pa.timestamp("us", array.type.tz), safe=False)
        return array.cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))
    if pa.types.is_timestamp(array.type) and pa.types.is_timestamp(wanted):
        return array.cast(wanted, safe=False)
    if pa.types.is_boolean(wanted) and not _reads_as_boolean(array):
        raise pa.ArrowInvalid("not 0 or 1")
    return array.cast(wanted)


def _reads_as_boolean(array: pa.Array) -> bool:
    """Text has its own rules (true, false, 1, 0); numbers must be 0 or 1."""
    if pa.types.is_boolean(array.type) or _is_text(array.type):
        return True
    known = pc.is_in(array, value_set=pa.array([0, 1, None]).cast(array.type))
    return pc.all(known).as_py() is not False


def _cast_by_halves(array: pa.Array, wanted: pa.DataType, first: int, bad: Bad) -> pa.Array:
    """What fits, null where a value does not; the halves of what does not fit are tried again."""
    if len(bad) >= MAX_MISFITS:
        return pa.nulls(len(array), wanted)
    try:
        return _cast(array, wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        if len(array) == 1:
            bad.append((first, str(array[0].as_py())))
            return pa.nulls(1, wanted)
    half = len(array) // 2
    left = _cast_by_halves(array.slice(0, half), wanted, first, bad)
    right = _cast_by_halves(array.slice(half), wanted, first + half, bad)
    return pa.concat_arrays([left, right])


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_whole(array: pa.Array) -> bool:
    finite = array.filter(pc.is_finite(array))
    small = pc.all(pc.less(pc.abs(finite), 2.0**53)).as_py() is not False
    return small and pc.all(pc.equal(finite, pc.floor(finite))).as_py() is not False


def _parsed_times(array: pa.Array) -> pa.Array:
    try:
        return array.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        return array


def _distinct(array: pa.Array) -> int:
    return int(pc.count_distinct(array).as_py())


def _parsed(array: pa.Array) -> pa.Array:
    """Text that is all numbers, once missing tokens are gone, as numbers."""
    for kind in (pa.int64(), pa.float64()):
        try:
            return array.cast(kind)
        except pa.ArrowInvalid:
            continue
    return array


def _numbers_in(tokens: tuple[str, ...]) -> list[float]:
    numbers = []
    for token in tokens:
        try:
            numbers.append(float(token))
        except ValueError:
            continue
    return [number for number in numbers if not math.isnan(number)]
