"""Tensors of the Open Inference Protocol to the columns of a model. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agentloop.contracts.errors import RequestRejected
from agentloop.lifecycle.bundle import InputColumn

FLOATS = frozenset({"FP16", "FP32", "FP64"})
INTEGERS = frozenset(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
_ALLOWED: Mapping[str, frozenset[type]] = {
    **dict.fromkeys(FLOATS, frozenset({float, int, type(None)})),
    **dict.fromkeys(INTEGERS, frozenset({int, type(None)})),
    "BOOL": frozenset({bool, type(None)}),
    "BYTES": frozenset({str, type(None)}),
}
_NUMERIC = {name: kinds for name, kinds in _ALLOWED.items() if name in FLOATS | INTEGERS}
_SCALARS = frozenset({str, int, bool, float, type(None)})
_NUMBERS = frozenset({float, int, bool, type(None)})
_NULL = type(None)
MAX_TEXT = 60

Values = Sequence[Any] | npt.NDArray[Any]


class Tensor(NamedTuple):
    """A checked tensor: ``values`` are flat, and as many as ``shape`` says."""

    name: str
    shape: list[int]
    values: Values


def read_head(tensor: Any) -> tuple[str, str, list[int]]:
    """The name, datatype and shape of a tensor's JSON object. Raises RequestRejected."""
    if type(tensor) is not dict:
        raise RequestRejected(400, "each input must be an object")
    name, shape, datatype = tensor.get("name"), tensor.get("shape"), tensor.get("datatype")
    if type(name) is not str:
        raise RequestRejected(400, "each input needs a 'name'")
    if type(datatype) is not str or datatype not in _ALLOWED:
        raise RequestRejected(400, f"'{shown(name)}' needs a known 'datatype'")
    if type(shape) is not list or len(shape) not in (1, 2):
        raise RequestRejected(400, f"'{shown(name)}' needs a 'shape' of one or two sizes")
    for size in shape:
        if type(size) is not int or size < 0:
            raise RequestRejected(400, f"'{shown(name)}' needs a 'shape' of whole numbers")
    return name, datatype, shape


def read_json_tensor(tensor: Any) -> Tensor:
    """A tensor whose ``data`` is in the JSON. Raises RequestRejected."""
    name, datatype, shape = read_head(tensor)
    if "parameters" in tensor and binary_size(tensor) is not None:
        reason = "raw tensors need the 'Inference-Header-Content-Length' header"
        raise RequestRejected(400, reason)
    flat = tensor.get("data")
    if type(flat) is not list or (flat and type(flat[0]) is list):
        flat = _flatten(flat, name)
    if len(flat) != (shape[0] if len(shape) == 1 else prod(shape)):
        raise RequestRejected(400, f"'{shown(name)}' has {len(flat)} values, not its shape's")
    if not _ALLOWED[datatype].issuperset(map(type, flat)):
        raise RequestRejected(400, f"'{shown(name)}' holds values that are not {datatype}")
    return Tensor(name, shape, flat)


def binary_size(tensor: Any) -> int | None:
    """How many raw bytes a tensor says it has; None where its values are in the JSON."""
    parameters = tensor.get("parameters") if type(tensor) is dict else None
    if parameters is None:
        return None
    if type(parameters) is not dict:
        raise RequestRejected(400, "'parameters' must be an object")
    if "binary_data_size" not in parameters:
        return None
    size = parameters["binary_data_size"]
    if type(size) is not int or size < 0:
        raise RequestRejected(400, "'binary_data_size' must be a number of bytes")
    if "data" in tensor:
        raise RequestRejected(400, "an input has both 'data' and 'binary_data_size'")
    return size


def read_single_row(tensors: list[Any], names: tuple[str, ...]) -> list[Any] | None:
    """The values of one row that was sent as a tensor of numbers a column, in the model's order:
    the plainest of requests, read with the least ado. None for any other, however sound."""
    if len(tensors) != len(names):
        return None
    row = []
    try:
        for tensor, name in zip(tensors, names, strict=True):
            size, *sizes = tensor["shape"]
            (value,) = tensor["data"]
            if (
                tensor["name"] != name
                or sizes
                or size != 1
                or type(size) is not int
                or type(value) not in _NUMERIC[tensor["datatype"]]
                or "parameters" in tensor
            ):
                return None
            row.append(value)
    except (KeyError, TypeError, ValueError):
        return None
    return row


def _flatten(data: Any, name: str) -> list[Any]:
    if type(data) is not list:
        raise RequestRejected(400, f"'{shown(name)}' needs a list as 'data'")
    if not all(type(row) is list and len(row) == len(data[0]) for row in data):
        raise RequestRejected(400, f"'{shown(name)}' has rows of unequal length")
    return list(chain.from_iterable(data))


def as_column(values: Values, column: InputColumn) -> npt.NDArray[Any]:
    """(rows,) of JSON scalars, or of an array, as the column's kind: numbers, or text."""
    if column.datatype != "BYTES":
        return as_numbers(values, column.name)
    if isinstance(values, np.ndarray):
        values = values.tolist()
    kinds = set(map(type, values))
    if not kinds <= _SCALARS:
        raise RequestRejected(400, f"'{shown(column.name)}' must hold plain values")
    array = np.empty(len(values), dtype=object)
    array[:] = values if kinds <= {str, _NULL} else [_text(value) for value in values]
    return array


def as_numbers(values: Values, name: str) -> npt.NDArray[np.float64]:
    """float64 (values,), NaN for null. Raises RequestRejected for what is no number."""
    if isinstance(values, np.ndarray) and values.dtype != object:
        numbers = values.astype(np.float64, copy=False)
        # In raw bytes NaN is how null is written; infinities are refused there as in JSON.
        if np.isinf(numbers).any():
            raise RequestRejected(400, f"'{shown(name)}' holds an infinite number")
        return numbers
    kinds = set(map(type, values))
    if not kinds <= _NUMBERS:
        raise RequestRejected(400, f"'{shown(name)}' must hold numbers")
    if _NULL in kinds:
        values = [np.nan if value is None else value for value in values]
    return np.array(values, dtype=np.float64)


def refuse_missing(names: Sequence[str]) -> None:
    """Raise RequestRejected naming the first of ``names``, if there are any."""
    if names:
        some = ", ".join(f"'{shown(name)}'" for name in names[:5])
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise RequestRejected(400, f"missing columns: {some}{more}")


def shown(name: str) -> str:
    """A client's text, short enough to be shown back."""
    return name if len(name) <= MAX_TEXT else f"{name[: MAX_TEXT - 3]}..."


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
