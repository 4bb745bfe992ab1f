"""What each step does to one column of a block. Row by row: blocks can be cut anywhere."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from agentloop.contracts.data import ColumnKind
from agentloop.contracts.spec_steps import CastStep, MapStep, Plain
from agentloop.data.arrow_cast import STORED_TYPES, Bad, cast_column
from agentloop.data.arrow_step_kinds import as_kind, read_leniently

TEXTUAL = ("category", "text")
_LEAST, _MOST = -(2**63), 2**63 - 1


def fill(array: pa.Array, value: Plain | None, kind: ColumnKind) -> pa.Array:
    """Nulls become ``value``; None, where nothing could be fitted, leaves them."""
    scalar = as_kind(value, kind)
    return array if scalar is None else pc.fill_null(array, scalar)


def clip(array: pa.Array, low: float | None, high: float | None, inwards: bool) -> pa.Array:
    """Numbers moved to the bounds. In whole numbers the bounds are whole too: rounded
    ``inwards``, so that no bound is crossed, or outwards."""
    if pa.types.is_integer(array.type):
        up, down = (math.ceil, math.floor) if inwards else (math.floor, math.ceil)
        low = None if low is None else _as_int64(up(low))
        high = None if high is None else _as_int64(down(high))
    if low is not None:
        array = pc.max_element_wise(array, pa.scalar(low, array.type), skip_nulls=False)
    if high is not None:
        array = pc.min_element_wise(array, pa.scalar(high, array.type), skip_nulls=False)
    return array


def cast(array: pa.Array, kind: ColumnKind, step: CastStep) -> tuple[pa.Array, Bad]:
    """The column read as ``step.to``, and (row, value) of what does not fit."""
    if step.to == kind or (step.to in TEXTUAL and kind in TEXTUAL):
        return array, []
    if step.to in TEXTUAL:
        return texts_of(array), []
    if kind in TEXTUAL:
        array = pc.utf8_trim_whitespace(array)
    if step.on_error == "null":
        return without_nan(read_leniently(array, step.to)), []
    read, bad = cast_column(array, step.to)
    return without_nan(read), bad


def map_values(array: pa.Array, kind: ColumnKind, step: MapStep, to: ColumnKind) -> Any:
    """The column with its values mapped, as kind ``to``, and (row, value) of kept values that do
    not read as it. Nulls stay."""
    keys = [as_kind(key, kind) for key in step.values]
    known = pa.array([key.as_py() if key is not None else None for key in keys], array.type)
    values = [as_kind(value, to) for value in step.values.values()]
    wanted = STORED_TYPES[to]
    new = pa.array([v.as_py() if v is not None else None for v in values], wanted)
    found = pc.index_in(array, value_set=known, skip_nulls=True)
    listed = found.is_valid()
    rest = pc.if_else(listed, pa.scalar(None, array.type), array)
    bad: Bad = []
    if step.otherwise is not None:
        other = as_kind(step.otherwise, to)
        rest = pc.if_else(rest.is_valid(), other, pa.scalar(None, wanted))
    elif to in TEXTUAL:
        rest = texts_of(rest)
    elif kind != to:
        rest, bad = cast_column(rest, to)
    return pc.if_else(listed, new.take(found), rest), bad


def replace_text(array: pa.Array, pattern: str, by: str) -> pa.Array:
    return pc.replace_substring_regex(array, pattern, by)


def texts_of(array: pa.Array) -> pa.Array:
    """Values as text. A whole number has no decimal point, whatever the rest of its block."""
    if not pa.types.is_floating(array.type):
        return array.cast(pa.string())
    whole = pc.and_(
        pc.less(pc.abs(array), 2.0**53), pc.equal(array, pc.floor(array))
    )  # null where the value is
    numbers = pc.if_else(whole, array, 0.0).cast(pa.int64(), safe=False)
    return pc.if_else(whole, numbers.cast(pa.string()), array.cast(pa.string()))


def stored(array: pa.Array, kind: ColumnKind) -> pa.Array:
    """What an expression gave, in the stored type of its kind; NaN is null."""
    wanted = STORED_TYPES[kind]
    if pa.types.is_timestamp(array.type) and array.type.tz is not None:
        array = array.cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))
    if pa.types.is_timestamp(wanted) or pa.types.is_floating(wanted):
        return without_nan(array.cast(wanted, safe=False))
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    return array.cast(wanted)


def without_nan(array: pa.Array) -> pa.Array:
    if not pa.types.is_floating(array.type):
        return array
    return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)


def _as_int64(value: int) -> int:
    return min(max(value, _LEAST), _MOST)
