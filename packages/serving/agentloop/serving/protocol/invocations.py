"""MLflow's ``/invocations`` body forms, to the same columns as the V2 protocol. Pure.

``dataframe_split``, ``dataframe_records``, ``inputs`` and TF Serving's ``instances``, as MLflow's
scoring server reads them: columns that the model does not know are ignored, so is an ``index``,
and ``params`` of a model that takes none.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from agentloop.contracts.errors import RequestRejected
from agentloop.lifecycle.bundle import InputColumn, Signature
from agentloop.serving.protocol.inference_request import InferenceRequest, check_rows
from agentloop.serving.protocol.json_body import json_list, parse_object
from agentloop.serving.protocol.oip_tensors import as_column, refuse_missing

FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")


def decode_invocations(body: bytes, signature: Signature) -> InferenceRequest:
    """Columns of an MLflow body. Raises RequestRejected (4xx) for whatever does not fit."""
    value = parse_object(body)
    forms = [form for form in FORMS if form in value]
    if len(forms) != 1:
        raise RequestRejected(400, f"the body needs exactly one of {', '.join(FORMS)}")
    if type(value.get("params", {})) is not dict:
        raise RequestRejected(400, "'params' must be an object")
    payload = value[forms[0]]
    inputs = signature.inputs
    if forms[0] == "dataframe_split":
        return _from_split(payload, inputs)
    if isinstance(payload, dict) and forms[0] == "inputs":
        return _from_columns(payload, inputs)
    if not isinstance(payload, list) or not payload:
        raise RequestRejected(400, f"'{forms[0]}' must be a list of one row or more")
    if isinstance(payload[0], dict):
        return _from_records(payload, inputs)
    if forms[0] == "dataframe_records":
        raise RequestRejected(400, "'dataframe_records' must hold objects")
    names = [column.name for column in inputs]
    if len(names) == 1 and not any(type(row) is list for row in payload):
        payload = [[value] for value in payload]
    return _from_rows(names, payload, inputs)


def encode_invocations(labels: npt.NDArray[Any]) -> bytes:
    """MLflow's answer: one prediction a row."""
    return b'{"predictions":%b}' % json_list(labels)


def _from_split(payload: Any, inputs: tuple[InputColumn, ...]) -> InferenceRequest:
    if not isinstance(payload, dict):
        raise RequestRejected(400, "'dataframe_split' must be an object")
    names, rows = payload.get("columns"), payload.get("data")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RequestRejected(400, "'columns' must be a list of names")
    if len(set(names)) != len(names):
        raise RequestRejected(400, "'columns' repeats a name")
    if not isinstance(rows, list):
        raise RequestRejected(400, "'data' must be a list of rows")
    return _from_rows(names, rows, inputs)


def _from_rows(
    names: list[str], rows: list[Any], inputs: tuple[InputColumn, ...]
) -> InferenceRequest:
    count = check_rows(len(rows))
    if not all(type(row) is list and len(row) == len(names) for row in rows):
        raise RequestRejected(400, f"each row must be a list of {len(names)} values")
    position = {name: i for i, name in enumerate(names)}
    refuse_missing([column.name for column in inputs if column.name not in position])
    columns = {c.name: as_column([row[position[c.name]] for row in rows], c) for c in inputs}
    return InferenceRequest(columns, count)


def _from_records(rows: list[Any], inputs: tuple[InputColumn, ...]) -> InferenceRequest:
    """A column that some rows leave out is null there, as in a data frame of such records."""
    count = check_rows(len(rows))
    if not all(type(row) is dict for row in rows):
        raise RequestRejected(400, "each row must be an object")
    seen = rows[0].keys() if count == 1 else set().union(*rows)
    refuse_missing([column.name for column in inputs if column.name not in seen])
    columns = {c.name: as_column([row.get(c.name) for row in rows], c) for c in inputs}
    return InferenceRequest(columns, count)


def _from_columns(payload: dict[str, Any], inputs: tuple[InputColumn, ...]) -> InferenceRequest:
    refuse_missing([column.name for column in inputs if column.name not in payload])
    given: dict[str, list[Any]] = {}
    for column in inputs:
        values = payload[column.name]
        if not isinstance(values, list):
            raise RequestRejected(400, "each of 'inputs' must be a list")
        given[column.name] = [v[0] if type(v) is list and len(v) == 1 else v for v in values]
    count = check_rows(len(given[inputs[0].name]) if inputs else 0)
    if any(len(values) != count for values in given.values()):
        raise RequestRejected(400, "the inputs must have equally many rows")
    columns = {c.name: as_column(given[c.name], c) for c in inputs}
    return InferenceRequest(columns, count)
