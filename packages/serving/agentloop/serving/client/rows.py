"""What a caller may give as rows, as the columns that a model wants. Pure; pandas by its shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.errors import RequestRejected
from agentloop.serving.protocol.oip_binary import DTYPES

Row = Mapping[str, Any]
Rows = Any
"""One mapping, a list of them, a mapping of columns, a table with ``columns`` (pandas, Polars), or
an array or lists of (rows, columns) in the order of the model's inputs."""
Column = Sequence[Any] | npt.NDArray[Any]
Values = list[str | None] | npt.NDArray[Any]
_SCALARS = (str, bytes, int, float, bool, type(None), np.generic)


def to_columns(rows: Rows, names: Sequence[str]) -> dict[str, Column]:
    """A column (rows,) for each of ``names``. Raises RequestRejected."""
    if hasattr(rows, "columns") and hasattr(rows, "__getitem__"):
        _refuse_missing([name for name in names if name not in set(rows.columns)])
        return {name: _plain(rows[name]) for name in names}
    if isinstance(rows, Mapping):
        _refuse_missing([name for name in names if name not in rows])
        if all(isinstance(rows[name], _SCALARS) or np.ndim(rows[name]) == 0 for name in names):
            return {name: [rows[name]] for name in names}
        return _same_length({name: _plain(rows[name]) for name in names})
    rows = rows if isinstance(rows, np.ndarray) else list(rows)
    if isinstance(rows, list) and rows and isinstance(rows[0], Mapping):
        _refuse_missing([name for name in names if any(name not in row for row in rows)])
        return {name: [row[name] for row in rows] for name in names}
    return _matrix(rows, names)


def as_type(values: Column, datatype: str, name: str) -> Values:
    """(rows,) as an input's datatype: texts with None, or numbers with NaN for what is missing.

    Raises RequestRejected for what does not fit.
    """
    if datatype == "BYTES":
        return [None if _is_missing(value) else _text(value) for value in values]
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        array = np.array([_number(value, name) for value in values], np.float64)
    if datatype not in DTYPES:
        raise RequestRejected(400, f"'{name}' has a datatype unknown to this client: {datatype}")
    if array.dtype.kind == "f" and np.isinf(array).any():
        raise RequestRejected(400, f"'{name}' holds an infinite value")
    if datatype.startswith("FP"):
        return array.astype(DTYPES[datatype])
    if array.dtype.kind == "f" and (np.isnan(array).any() or (array != np.floor(array)).any()):
        raise RequestRejected(400, f"'{name}' must hold whole numbers, none missing")
    return array.astype(DTYPES[datatype])


def _matrix(rows: Any, names: Sequence[str]) -> dict[str, Column]:
    try:
        matrix = rows if isinstance(rows, np.ndarray) else _object_matrix(rows)
    except (TypeError, ValueError):
        raise RequestRejected(400, "the rows must be equally long") from None
    if matrix.ndim == 1 and len(matrix) == len(names):
        matrix = matrix.reshape(1, -1)
    if matrix.ndim != 2 or matrix.shape[1] != len(names):
        raise RequestRejected(400, f"rows without names need the model's {len(names)} columns")
    return {name: matrix[:, i] for i, name in enumerate(names)}


def _object_matrix(rows: list[Any]) -> npt.NDArray[Any]:
    """Lists of mixed values keep each its type."""
    if not rows or isinstance(rows[0], _SCALARS):
        return np.array(rows, dtype=object)
    width = len(rows[0])
    if any(len(row) != width for row in rows):
        raise ValueError("of unequal length")
    matrix = np.empty((len(rows), width), dtype=object)
    for i, row in enumerate(rows):
        matrix[i] = list(row)
    return matrix


def _same_length(columns: dict[str, Column]) -> dict[str, Column]:
    if len({len(values) for values in columns.values()}) > 1:
        raise RequestRejected(400, "the columns must be equally long")
    return columns


def _plain(column: Any) -> Column:
    values: Column = column.to_numpy() if hasattr(column, "to_numpy") else column
    if isinstance(values, _SCALARS) or np.ndim(values) == 0:
        raise RequestRejected(400, "the columns must be equally long")
    return values


def _number(value: Any, name: str) -> float:
    if _is_missing(value):
        return float("nan")
    if isinstance(value, Real | Decimal):
        return float(value)
    raise RequestRejected(400, f"'{name}' must hold numbers")


def _is_missing(value: Any) -> bool:
    # pandas.NA and NaT are known by name: pandas is not needed here.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _refuse_missing(names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise RequestRejected(400, f"missing columns: {', '.join(map(str, names[:5]))}{more}")
