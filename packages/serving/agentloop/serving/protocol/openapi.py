"""The OpenAPI 3.1 description of one model version, from its signature and reference. Pure.

https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

from typing import Any

import numpy as np

from agentloop.lifecycle.bundle import InputColumn, Signature
from agentloop.lifecycle.reference import ColumnReference, ReferenceProfile
from agentloop.serving.protocol.oip import OutputTypes, output_types
from agentloop.serving.protocol.oip_tensors import FLOATS, INTEGERS

Json = dict[str, Any]
_DATATYPES = sorted(FLOATS | INTEGERS | {"BOOL", "BYTES"})
_TYPES = {"FP64": ["number", "null"], "BYTES": ["string", "null"]}
_ERRORS = {
    "400": "The body does not fit the model; the reason says what to change.",
    "413": "The body is too large, or holds too many rows.",
    "415": "The body is compressed, or of another type.",
    "429": "Too many requests wait at this replica; try again after `Retry-After` seconds.",
    "500": "The model failed on this request.",
    "503": "No replica is ready; try again after `Retry-After` seconds.",
}


def describe_api(
    signature: Signature, version: str, reference: ReferenceProfile | None = None
) -> Json:
    """The document; ``reference`` gives the examples values that the training data had."""
    row = example_row(signature, reference)
    model = f"/v2/models/{signature.model}"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": signature.model,
            "version": version,
            "description": f"Predicts `{signature.target}` ({signature.task}).",
        },
        "paths": {
            f"{model}/infer": {"post": _infer(signature, version, row)},
            invocations_path(signature): {"post": _invocations(signature, row)},
            model: {"get": _get("Metadata", "The inputs and outputs of the model.")},
            f"{model}/ready": {"get": _get("Readiness", "Whether the model answers.")},
            "/v2": {"get": _get("Server", "The server, and the protocol's extensions it knows.")},
            "/v2/health/live": {"get": _get("Liveness", "Whether the server runs.")},
            "/v2/health/ready": {"get": _get("Server readiness", "Whether all models answer.")},
        },
        "components": {"schemas": _schemas(signature)},
    }


def invocations_path(signature: Signature) -> str:
    """Where MLflow bodies for the model go, however many models are served."""
    return f"/models/{signature.model}/invocations"


def example_row(signature: Signature, reference: ReferenceProfile | None) -> Json:
    """A value for each input: the middle of the training data, or its most frequent category."""
    known = {column.name: column for column in reference.columns} if reference else {}
    return {column.name: _example(column, known.get(column.name)) for column in signature.inputs}


def infer_body(signature: Signature, row: Json) -> Json:
    """The V2 request of one row."""
    return {
        "inputs": [
            {"name": c.name, "datatype": c.datatype, "shape": [1], "data": [row[c.name]]}
            for c in signature.inputs
        ]
    }


def _example(column: InputColumn, reference: ColumnReference | None) -> Any:
    if column.datatype != "BYTES":
        edges = reference.edges if reference is not None else ()
        return float(edges[len(edges) // 2]) if edges else 0.0
    if reference is not None and reference.categories:
        counts = reference.counts[: len(reference.categories)]
        return reference.categories[int(np.argmax(counts))]
    return "text"


def _infer(signature: Signature, version: str, row: Json) -> Json:
    outputs = [_example_output(*item) for item in output_types(signature).items()]
    if signature.classes:
        share = round(1 / len(signature.classes), 6)
        outputs[0]["data"] = [signature.classes[0]]
        outputs[1]["data"] = [share] * len(signature.classes)
    answer = {"model_name": signature.model, "model_version": version, "outputs": outputs}
    return {
        "summary": "Predict (Open Inference Protocol V2)",
        "description": (
            "A tensor a column, of shape [n] or [n, 1]"
            + (
                "; or one tensor [n, columns] of all numbers in the order of the metadata"
                if all(column.datatype != "BYTES" for column in signature.inputs)
                else ""
            )
            + ". null stands for a missing value. Tensors may also be raw bytes after the JSON "
            "(the binary tensor data extension)."
        ),
        "operationId": "infer",
        "parameters": [
            _header("x-request-id", "Named in the answer and in the logs; made up if left out."),
            _header("x-session-id", "Keeps a session on one version while two share the traffic."),
            _header("traceparent", "W3C trace context; the answer carries `traceresponse`."),
            _header("Inference-Header-Content-Length", "Bytes of JSON, where raw tensors follow."),
        ],
        "requestBody": _body("InferRequest", infer_body(signature, row)),
        "responses": {"200": _answer("InferResponse", answer), **_error_answers()},
    }


def _example_output(name: str, kind: tuple[str, tuple[int, ...]]) -> Json:
    datatype, shape = kind
    return {"name": name, "datatype": datatype, "shape": [1, *shape], "data": [0.0]}


def _invocations(signature: Signature, row: Json) -> Json:
    first = signature.classes[0] if signature.classes else 0.0
    return {
        "summary": "Predict (MLflow)",
        "description": "dataframe_split, dataframe_records, inputs or instances, as MLflow's "
        "scoring server takes them.",
        "operationId": "invocations",
        "requestBody": _body("Invocations", {"dataframe_records": [row]}),
        "responses": {
            "200": _answer("Predictions", {"predictions": [first]}),
            **_error_answers(),
        },
    }


def _schemas(signature: Signature) -> Json:
    columns = {
        c.name: {"type": _TYPES.get(c.datatype, ["number", "null"])} for c in signature.inputs
    }
    record = {"type": "object", "properties": columns, "required": list(columns)}
    return {
        "Tensor": _tensor(),
        "InferRequest": _infer_request(output_types(signature)),
        "InferResponse": _infer_response(signature.model),
        "Row": record,
        "Invocations": {
            "type": "object",
            "properties": {
                "dataframe_records": {"type": "array", "items": _ref("Row")},
                "dataframe_split": {"type": "object", "required": ["columns", "data"]},
                "inputs": {"type": ["object", "array"]},
                "instances": {"type": "array"},
                "params": {"type": "object"},
            },
        },
        "Predictions": {"type": "object", "properties": {"predictions": {"type": "array"}}},
        "Error": {
            "type": "object",
            "required": ["error"],
            "properties": {"error": {"type": "string", "maxLength": 500}},
        },
    }


def _infer_request(outputs: OutputTypes) -> Json:
    flag = {"type": "object", "properties": {"binary_data_output": {"type": "boolean"}}}
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": flag,
            "inputs": {"type": "array", "items": _ref("Tensor"), "minItems": 1},
            "outputs": {"type": "array", "items": _requested(outputs)},
        },
    }


def _infer_response(model: str) -> Json:
    return {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"const": model},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": _ref("Tensor")},
        },
    }


def _tensor() -> Json:
    return {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"type": "string"},
            "datatype": {"enum": _DATATYPES},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "data": {"type": "array"},
            "parameters": {
                "type": "object",
                "properties": {"binary_data_size": {"type": "integer", "minimum": 0}},
            },
        },
    }


def _requested(outputs: OutputTypes) -> Json:
    flag = {"type": "object", "properties": {"binary_data": {"type": "boolean"}}}
    return {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": list(outputs)}, "parameters": flag},
    }


def _get(summary: str, description: str) -> Json:
    return {
        "summary": summary,
        "description": description,
        "responses": {"200": {"description": "OK"}},
    }


def _header(name: str, description: str) -> Json:
    return {"name": name, "in": "header", "schema": {"type": "string"}, "description": description}


def _body(schema: str, example: Json) -> Json:
    content = {"application/json": {"schema": _ref(schema), "example": example}}
    return {"required": True, "content": content}


def _answer(schema: str, example: Json) -> Json:
    headers = {
        name: {"schema": {"type": "string"}}
        for name in ("x-model-version", "x-request-id", "traceresponse")
    }
    content = {"application/json": {"schema": _ref(schema), "example": example}}
    return {"description": "The prediction.", "headers": headers, "content": content}


def _error_answers() -> Json:
    content = {"application/json": {"schema": _ref("Error")}}
    return {code: {"description": text, "content": content} for code, text in _ERRORS.items()}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
