"""Raw columns as numbers and as texts: what a null is, and what a value reads as."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_PLAIN_TEXT = {str, type(None)}


def to_floats(values: npt.NDArray[Any] | Sequence[Any]) -> npt.NDArray[np.float64]:
    """float64 (rows,) with NaN for None. Raises ValueError for text that is no number."""
    array = np.asarray(values)
    if array.dtype.kind in "fiub":
        return array.astype(np.float64).reshape(-1)
    return np.array([np.nan if v is None else float(v) for v in array.reshape(-1)], np.float64)


def to_texts(values: npt.NDArray[Any] | Sequence[Any]) -> list[str | None]:
    """Text of each value; None for None and NaN."""
    array = np.asarray(values).reshape(-1)
    if array.dtype.kind in "OU":
        given: list[Any] = array.tolist()
        if set(map(type, given)) <= _PLAIN_TEXT:
            return given
    return [None if v is None or _is_nan(v) else str(v) for v in array]


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
