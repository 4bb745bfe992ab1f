"""Open Inference Protocol V2: request bodies to columns, and the metadata of a model. Pure.

https://github.com/kserve/open-inference-protocol (inference_rest.md)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from agentloop.contracts.errors import RequestRejected
from agentloop.lifecycle.bundle import InputColumn, Signature
from agentloop.serving.protocol.inference_request import (
    Columns,
    InferenceRequest,
    MatrixColumns,
    RequestedOutput,
    check_rows,
)
from agentloop.serving.protocol.json_body import parse_object
from agentloop.serving.protocol.oip_binary import EXTENSION, read_tensors, split_body
from agentloop.serving.protocol.oip_tensors import (
    Tensor,
    as_column,
    as_numbers,
    read_json_tensor,
    read_single_row,
    refuse_missing,
    shown,
)

OutputTypes = dict[str, tuple[str, tuple[int, ...]]]


class InferDecoder:
    """Reads ``infer`` bodies for one model, whose names and kinds it lays out once."""

    def __init__(self, signature: Signature) -> None:
        self._inputs = signature.inputs
        self._names = tuple(column.name for column in signature.inputs)
        self._known = frozenset(self._names)
        self._numeric = all(column.datatype != "BYTES" for column in signature.inputs)
        self._outputs = frozenset(output_types(signature))

    def decode(self, body: bytes, header_length: bytes | None = None) -> InferenceRequest:
        """The request in ``body``; ``header_length`` is its ``Inference-Header-Content-Length``.

        Raises RequestRejected (4xx) for whatever does not fit.
        """
        if header_length is None:
            value, tensors = self._parse(body)
            row = read_single_row(tensors, self._names) if self._numeric else None
            if row is not None:
                matrix = as_numbers(row, "").reshape(1, -1)
                columns: Columns = MatrixColumns(self._names, matrix)
                rows = 1
            else:
                columns, rows = self._columns([read_json_tensor(tensor) for tensor in tensors])
        else:
            text, raw = split_body(body, header_length)
            value, tensors = self._parse(text)
            columns, rows = self._columns(read_tensors(tensors, raw))
        if len(value) == 1:
            return InferenceRequest(columns, rows)
        binary = _asks_binary(value)
        outputs = self._requested(value.get("outputs"), binary)
        return InferenceRequest(columns, rows, _text_id(value), outputs, binary)

    def _parse(self, text: bytes) -> tuple[dict[str, Any], list[Any]]:
        value = parse_object(text)
        tensors = value.get("inputs")
        if type(tensors) is not list or not tensors:
            raise RequestRejected(400, "'inputs' must be a list of one tensor or more")
        if len(tensors) > max(1, len(self._names)):  # before time is spent on each
            given, known = len(tensors), len(self._names)
            raise RequestRejected(400, f"there are {given} inputs, and the model has {known}")
        return value, tensors

    def _columns(self, tensors: list[Tensor]) -> tuple[Columns, int]:
        first = tensors[0]
        if len(tensors) == 1 and self._numeric and len(first.shape) == 2:
            rows, width = first.shape
            if width == len(self._names):
                check_rows(rows)
                matrix = as_numbers(first.values, first.name).reshape(rows, width)
                return MatrixColumns(self._names, matrix), rows
        given = _by_name(tensors)
        refuse_missing([name for name in self._names if name not in given])
        for name in given:
            if name not in self._known:
                raise RequestRejected(400, f"'{shown(name)}' is no input of this model")
        rows = check_rows(len(given[self._names[0]]) if self._names else 0)
        if any(len(values) != rows for values in given.values()):
            raise RequestRejected(400, "the inputs must have equally many rows")
        return _join(given, self._inputs, self._names, rows, self._numeric), rows

    def _requested(self, outputs: Any, binary: bool) -> tuple[RequestedOutput, ...] | None:
        if outputs is None or outputs == []:
            return None
        if type(outputs) is not list:
            raise RequestRejected(400, "'outputs' must be a list")
        asked: dict[str, RequestedOutput] = {}
        for output in outputs:
            name = output.get("name") if type(output) is dict else None
            if type(name) is not str or name not in self._outputs:
                known = ", ".join(f"'{name}'" for name in sorted(self._outputs))
                raise RequestRejected(400, f"'outputs' must name outputs of the model: {known}")
            if name in asked:
                raise RequestRejected(400, f"the output '{name}' is asked for twice")
            flags = _parameters(output)
            if "classification" in flags:
                raise RequestRejected(400, "the classification extension is not supported")
            asked[name] = RequestedOutput(name, _flag(flags, "binary_data", binary))
        return tuple(asked.values())


def output_types(signature: Signature) -> OutputTypes:
    """The datatype of each output, and its shape after the rows."""
    if signature.task == "regression":
        return {"value": ("FP64", ())}
    return {"label": ("BYTES", ()), "probabilities": ("FP32", (len(signature.classes),))}


def model_metadata(signature: Signature, version: str) -> dict[str, Any]:
    """The V2 metadata of a model."""
    inputs = [{"name": c.name, "datatype": c.datatype, "shape": [-1]} for c in signature.inputs]
    outputs = [
        {"name": name, "datatype": datatype, "shape": [-1, *shape]}
        for name, (datatype, shape) in output_types(signature).items()
    ]
    return {
        "name": signature.model,
        "versions": [version],
        "platform": "agentloop_onnx",
        "inputs": inputs,
        "outputs": outputs,
        "parameters": {"task": signature.task, "classes": list(signature.classes)},
    }


def server_metadata(version: str) -> dict[str, Any]:
    """The V2 metadata of a server."""
    return {"name": "agentloop", "version": version, "extensions": [EXTENSION]}


def _by_name(tensors: list[Tensor]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, shape, values in tensors:
        if len(shape) == 2 and shape[1] != 1:
            raise RequestRejected(400, f"'{shown(name)}' must have shape [n] or [n, 1]")
        if name in given:
            raise RequestRejected(400, f"'{shown(name)}' is given twice")
        given[name] = values
    return given


def _join(
    given: dict[str, Any],
    inputs: tuple[InputColumn, ...],
    names: tuple[str, ...],
    rows: int,
    numeric: bool,
) -> Columns:
    """Columns of one matrix where all are numbers: a single row of many columns is then one array
    instead of many."""
    if not numeric:
        return {column.name: as_column(given[column.name], column) for column in inputs}
    if all(type(given[name]) is list for name in names):
        flat = [value for name in names for value in given[name]]
        matrix = _as_matrix(flat, given, names)
    else:
        matrix = np.stack([as_numbers(given[name], name) for name in names])
    return MatrixColumns(names, matrix.reshape(len(names), rows).T)


def _as_matrix(flat: list[Any], given: dict[str, Any], names: tuple[str, ...]) -> Any:
    try:
        return as_numbers(flat, "")
    except RequestRejected:  # say which
        return np.stack([as_numbers(given[name], name) for name in names])


def _text_id(value: dict[str, Any]) -> str | None:
    given = value.get("id")
    if given is not None and type(given) is not str:
        raise RequestRejected(400, "'id' must be text")
    return given


def _asks_binary(value: dict[str, Any]) -> bool:
    return _flag(_parameters(value), "binary_data_output", False)


def _parameters(value: dict[str, Any]) -> dict[str, Any]:
    found = value.get("parameters")
    if found is None:
        return {}
    if type(found) is not dict:
        raise RequestRejected(400, "'parameters' must be an object")
    return found


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if type(value) is not bool:
        raise RequestRejected(400, f"'{name}' must be true or false")
    return value
