"""How a value is told apart from others when rows are split: as text, and as a time.

Stored numbers, integers and booleans all come back as floats, so a whole number reads ``1`` here
whatever it was stored as, and true reads ``1``.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

BUCKETS = 100
_WHOLE = 2.0**53
_YEAR_OR_MONTH = re.compile(r"\d{4}(-\d{2})?")
_SWITCHES = {"true": "1", "false": "0"}


def bucket_of(salt: str, key: str) -> int:
    """The first 32 bits of sha256 of ``salt:key``, modulo 100."""
    digest = hashlib.sha256(f"{salt}:{key}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % BUCKETS


def texts_of(values: npt.NDArray[Any]) -> list[str]:
    """The text of each value; empty for null (None, NaN)."""
    return [text_of(value) for value in values.tolist()]


def text_of(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, (bool, int, float)):
        number = float(value)
        return str(int(number)) if number.is_integer() and abs(number) < _WHOLE else repr(number)
    return str(value)


def wanted_texts(values: Iterable[str], is_number: bool) -> frozenset[str]:
    """What loop.yaml calls values, in the form of ``texts_of``: ``2016.0`` is ``2016``."""
    return frozenset(_number_text(value) if is_number else value for value in values)


def seconds_of(text: str) -> float:
    """An ISO 8601 date or time, or a year or month, as seconds since 1970; UTC where it names no
    zone. Raises ValueError."""
    if _YEAR_OR_MONTH.fullmatch(text):
        text = f"{text}-01" if "-" in text else f"{text}-01-01"
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def distinct_of(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]]:
    """The different values, and for each row which of them it holds: (values,), (rows,).

    Nulls of text columns (None) cannot be sorted; they are numbered by a dictionary.
    """
    if values.dtype != object:
        unique, places = np.unique(values, return_inverse=True)
        return unique, places.astype(np.intp)
    numbers: dict[object, int] = {}
    rows = [numbers.setdefault(value, len(numbers)) for value in values.tolist()]
    known = np.empty(len(numbers), object)
    known[:] = list(numbers)
    return known, np.asarray(rows, np.intp)


def present_in(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """bool (rows,), False for null (None, NaN)."""
    if values.dtype != object:
        return ~np.isnan(values)
    return np.array([value is not None for value in values.tolist()], bool)


def _number_text(value: str) -> str:
    try:
        return text_of(float(_SWITCHES.get(value.lower(), value)))
    except ValueError:
        return value
