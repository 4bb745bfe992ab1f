"""Numbers in text, as people and spreadsheets write them, in the form that casts read."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from agentloop.contracts.data import ColumnKind

_DECIMAL_COMMA = r"^([+-]?\d*),(\d+(?:[eE][+-]?\d+)?)$"
_FLOAT = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_WHOLE = r"^-?\d+$"
_NAN = r"^(?i:[+-]?nan)$"
_EXACT = 2.0**53


def mend_numbers(text: pa.Array, kind: ColumnKind, decimal: str) -> pa.Array:
    """``text`` of a number or integer column with each number in the form that a cast reads: 3,14
    as 3.14 where the decimal mark is a comma, 1.00E+05 as 100000 in an integer column. What is no
    such number is left as it is; NaN in a number column is null."""
    if decimal == ",":
        text = pc.replace_substring_regex(text, _DECIMAL_COMMA, r"\1.\2")
    if kind == "integer":
        return _whole_as_digits(text)
    # As in a column that is all numbers, where NaN is null.
    return pc.if_else(pc.match_substring_regex(text, _NAN), None, text)


def cast_where_all_fit(text: pa.Array, kind: ColumnKind, decimal: str) -> pa.Array:
    """Trimmed ``text`` as numbers of ``kind``; as mended text where a value does not fit."""
    wanted = pa.int64() if kind == "integer" else pa.float64()
    mended = mend_numbers(text, kind, decimal)
    try:
        return mended.cast(wanted)
    except pa.ArrowInvalid:
        return mended


def number_texts(values: pa.Array) -> pa.Array:
    """Floats as text, whole ones without a point: as they read had they been whole numbers."""
    whole = pc.and_(pc.equal(values, pc.floor(values)), pc.less(pc.abs(values), _EXACT))
    digits = pc.if_else(whole, values, 0.0).cast(pa.int64()).cast(pa.string())
    return pc.if_else(whole, digits, values.cast(pa.string()))


def _whole_as_digits(text: pa.Array) -> pa.Array:
    odd = pc.and_(
        pc.match_substring_regex(text, _FLOAT),
        pc.invert(pc.match_substring_regex(text, _WHOLE)),
    )
    odd = pc.fill_null(odd, False)
    if not pc.any(odd).as_py():
        return text
    values = text.filter(odd).cast(pa.float64())
    whole = pc.and_(pc.equal(values, pc.floor(values)), pc.less(pc.abs(values), _EXACT))
    digits = pc.if_else(whole, values, 0.0).cast(pa.int64()).cast(pa.string())
    return pc.replace_with_mask(text, odd, pc.if_else(whole, digits, text.filter(odd)))
