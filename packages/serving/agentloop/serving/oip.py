"""Open Inference Protocol V2 over JSON: request bodies to columns, scores to answers. Pure.

https://github.com/kserve/open-inference-protocol (inference_rest.md)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from agentloop.contracts.errors import RequestRejected
from agentloop.lifecycle.bundle import InputColumn, Signature
from agentloop.serving.json_body import parse_object

MAX_ROWS = 100_000
FLOATS = frozenset({"FP16", "FP32", "FP64"})
INTEGERS = frozenset(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
_ALLOWED: Mapping[str, frozenset[type]] = {
    **dict.fromkeys(FLOATS, frozenset({float, int, type(None)})),
    **dict.fromkeys(INTEGERS, frozenset({int, type(None)})),
    "BOOL": frozenset({bool, type(None)}),
    "BYTES": frozenset({str, type(None)}),
}
_NUMBERS = frozenset({float, int})

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """Raw columns by name, each (rows,): float64 with NaN for null, or object with None."""

    columns: Columns
    rows: int
    id: str | None = None


def decode_infer(body: bytes, signature: Signature) -> InferenceRequest:
    """Columns of a V2 ``infer`` body. Raises RequestRejected (4xx) for whatever does not fit."""
    value = parse_object(body)
    request_id = value.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise RequestRejected(400, "'id' must be text")
    tensors = value.get("inputs")
    if not isinstance(tensors, list) or not tensors:
        raise RequestRejected(400, "'inputs' must be a list of one tensor or more")
    inputs = signature.inputs
    numeric = all(column.datatype != "BYTES" for column in inputs)
    if len(tensors) == 1 and numeric and _is_matrix(tensors[0], len(inputs)):
        return _decode_matrix(tensors[0], inputs, request_id)
    return _decode_columns(tensors, inputs, request_id)


def encode_infer(
    signature: Signature,
    version: str,
    labels: npt.NDArray[Any],
    scores: npt.NDArray[np.float32],
    request_id: str | None,
) -> bytes:
    """The V2 answer: ``label`` and ``probabilities`` (rows, classes), or ``value`` (rows,)."""
    if signature.task == "regression":
        outputs = [_tensor("value", "FP64", [len(labels)], labels)]
    else:
        outputs = [
            _tensor("label", "BYTES", [len(labels)], labels.tolist()),
            _tensor("probabilities", "FP64", list(scores.shape), np.ravel(scores)),
        ]
    answer: dict[str, Any] = {
        "model_name": signature.model,
        "model_version": version,
        "outputs": outputs,
    }
    if request_id is not None:
        answer["id"] = request_id
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def model_metadata(signature: Signature, version: str) -> dict[str, Any]:
    """The V2 metadata of a model."""
    inputs = [{"name": c.name, "datatype": c.datatype, "shape": [-1]} for c in signature.inputs]
    outputs = [
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP64", "shape": [-1, len(signature.classes)]},
    ]
    if signature.task == "regression":
        outputs = [{"name": "value", "datatype": "FP64", "shape": [-1]}]
    return {
        "name": signature.model,
        "versions": [version],
        "platform": "agentloop_onnx",
        "inputs": inputs,
        "outputs": outputs,
        "parameters": {"task": signature.task, "classes": list(signature.classes)},
    }


def as_column(values: Sequence[Any], column: InputColumn) -> npt.NDArray[Any]:
    """(rows,) of JSON scalars as the column's kind: numbers, or text of a category."""
    kinds = set(map(type, values))
    if column.datatype == "BYTES":
        if not kinds <= {str, int, bool, float, type(None)}:
            raise RequestRejected(400, f"'{_name(column.name)}' must hold plain values")
        array = np.empty(len(values), dtype=object)
        array[:] = values if kinds <= {str, type(None)} else [_text(v) for v in values]
        return array
    if not kinds <= {float, int, bool, type(None)}:
        raise RequestRejected(400, f"'{_name(column.name)}' must hold numbers")
    if type(None) in kinds:
        values = [np.nan if v is None else v for v in values]
    return np.array(values, dtype=np.float64)


def check_rows(rows: int) -> int:
    """``rows`` if a request may hold that many. Raises RequestRejected."""
    if rows < 1:
        raise RequestRejected(400, "the request holds no rows")
    if rows > MAX_ROWS:
        raise RequestRejected(413, f"the request holds more than {MAX_ROWS} rows")
    return rows


def refuse_missing(names: Sequence[str]) -> None:
    """Raise RequestRejected naming the first of ``names``, if there are any."""
    if names:
        shown = ", ".join(f"'{_name(name)}'" for name in names[:5])
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise RequestRejected(400, f"missing columns: {shown}{more}")


def _decode_matrix(
    tensor: dict[str, Any], inputs: tuple[InputColumn, ...], request_id: str | None
) -> InferenceRequest:
    flat = _flat(tensor)
    rows = check_rows(tensor["shape"][0])
    if type(None) in set(map(type, flat)):
        flat = [np.nan if v is None else v for v in flat]
    matrix = np.array(flat, dtype=np.float64).reshape(rows, len(inputs))
    # One transposed copy makes each column contiguous; single rows, the common case, are free.
    by_column = np.ascontiguousarray(matrix.T)
    columns: Columns = {column.name: by_column[i] for i, column in enumerate(inputs)}
    return InferenceRequest(columns, rows, request_id)


def _decode_columns(
    tensors: list[Any], inputs: tuple[InputColumn, ...], request_id: str | None
) -> InferenceRequest:
    given: dict[str, list[Any]] = {}
    for tensor in tensors:
        flat = _flat(tensor)
        name, shape = tensor["name"], tensor["shape"]
        if len(shape) == 2 and shape[1] != 1:
            raise RequestRejected(400, f"'{_name(name)}' must have shape [n] or [n, 1]")
        if name in given:
            raise RequestRejected(400, f"'{_name(name)}' is given twice")
        given[name] = flat
    refuse_missing([column.name for column in inputs if column.name not in given])
    known = {column.name for column in inputs}
    unknown = [name for name in given if name not in known]
    if unknown:
        raise RequestRejected(400, f"'{_name(unknown[0])}' is no input of this model")
    rows = check_rows(len(given[inputs[0].name]) if inputs else 0)
    if any(len(values) != rows for values in given.values()):
        raise RequestRejected(400, "the inputs must have equally many rows")
    columns = {column.name: as_column(given[column.name], column) for column in inputs}
    return InferenceRequest(columns, rows, request_id)


def _is_matrix(tensor: Any, width: int) -> bool:
    shape = tensor.get("shape") if isinstance(tensor, dict) else None
    return isinstance(shape, list) and len(shape) == 2 and shape[1] == width


def _flat(tensor: Any) -> list[Any]:
    """The checked, flattened data of a tensor; its name, shape and datatype are sound after it."""
    if not isinstance(tensor, dict):
        raise RequestRejected(400, "each input must be an object")
    name, shape, datatype = tensor.get("name"), tensor.get("shape"), tensor.get("datatype")
    if not isinstance(name, str):
        raise RequestRejected(400, "each input needs a 'name'")
    allowed = _ALLOWED.get(datatype) if isinstance(datatype, str) else None
    if allowed is None:
        raise RequestRejected(400, f"'{_name(name)}' needs a known 'datatype'")
    if not isinstance(shape, list) or len(shape) not in (1, 2):
        raise RequestRejected(400, f"'{_name(name)}' needs a 'shape' of one or two sizes")
    if any(type(size) is not int or size < 0 for size in shape):
        raise RequestRejected(400, f"'{_name(name)}' needs a 'shape' of whole numbers")
    flat = _flatten(tensor.get("data"), name)
    if len(flat) != (shape[0] if len(shape) == 1 else shape[0] * shape[1]):
        raise RequestRejected(400, f"'{_name(name)}' has {len(flat)} values, not its shape's")
    if not set(map(type, flat)) <= allowed:
        raise RequestRejected(400, f"'{_name(name)}' holds values that are not {datatype}")
    return flat


def _flatten(data: Any, name: str) -> list[Any]:
    if not isinstance(data, list):
        raise RequestRejected(400, f"'{_name(name)}' needs a list as 'data'")
    if data and type(data[0]) is list:
        if not all(type(row) is list and len(row) == len(data[0]) for row in data):
            raise RequestRejected(400, f"'{_name(name)}' has rows of unequal length")
        return list(chain.from_iterable(data))
    return data


def _tensor(name: str, datatype: str, shape: list[int], data: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _name(name: str) -> str:
    """A client's text, short enough to be shown back."""
    return name if len(name) <= 60 else f"{name[:57]}..."
