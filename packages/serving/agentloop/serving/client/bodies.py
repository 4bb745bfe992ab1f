"""The client's side of the Open Inference Protocol: columns to bodies, answers to values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from struct import pack, unpack_from
from typing import Any

import numpy as np
import orjson

from agentloop.serving.client.rows import Values
from agentloop.serving.protocol.oip_binary import DTYPES

LENGTH_HEADER = "inference-header-content-length"
JSON = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output: its datatype in the protocol's words; -1 in ``shape`` for any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a model wants and gives."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answered:
    """``labels`` (rows,) and ``probabilities`` (rows, classes), or None for regression."""

    labels: tuple[Any, ...]
    probabilities: tuple[tuple[float, ...], ...] | None


def read_metadata(content: bytes) -> ModelMetadata:
    """Raises ValueError for an answer of another protocol."""
    try:
        told = orjson.loads(content)
        return ModelMetadata(
            told["name"],
            tuple(told.get("versions") or ()),
            told.get("platform", ""),
            tuple(map(_tensor_info, told["inputs"])),
            tuple(map(_tensor_info, told["outputs"])),
            told.get("parameters") or {},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it has no {error}") from None


def write_request(
    metadata: ModelMetadata, columns: Mapping[str, Values], *, binary: bool
) -> tuple[bytes, dict[str, str]]:
    """The body of an ``infer`` request, and its headers. ``binary`` sends and asks for raw tensors;
    texts with nulls stay in the JSON, since raw ones know no null."""
    inputs: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for tensor in metadata.inputs:
        values = columns[tensor.name]
        described: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": [len(values)],
        }
        data = _raw(values) if binary else None
        if data is None:
            inputs.append({**described, "data": values})
        else:
            inputs.append({**described, "parameters": {"binary_data_size": len(data)}})
            raw.append(data)
    request: dict[str, Any] = {"inputs": inputs}
    if binary:
        request["parameters"] = {"binary_data_output": True}
    # Not a number is null in the JSON that orjson writes: what is missing, to the server.
    text = orjson.dumps(request, option=orjson.OPT_SERIALIZE_NUMPY)
    if not raw:
        return text, JSON
    headers = {"content-type": "application/octet-stream", LENGTH_HEADER: str(len(text))}
    return b"".join([text, *raw]), headers


def read_answer(content: bytes, headers: Mapping[str, str]) -> Answered:
    """Raises ValueError for an answer of another protocol."""
    try:
        length = int(headers.get(LENGTH_HEADER, len(content)))
        outputs = _outputs(orjson.loads(content[:length])["outputs"], memoryview(content)[length:])
        labels = outputs["label" if "label" in outputs else "value"]
        chances = outputs.get("probabilities")
        return Answered(
            tuple(labels.tolist()),
            None if chances is None else tuple(map(tuple, chances.tolist())),
        )
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"it has no {error}") from None


def _outputs(tensors: list[dict[str, Any]], raw: memoryview) -> dict[str, Any]:
    found, start = {}, 0
    for tensor in tensors:
        size = (tensor.get("parameters") or {}).get("binary_data_size")
        if size is None:
            kind = object if tensor["datatype"] == "BYTES" else DTYPES[tensor["datatype"]]
            values = np.array(tensor["data"], dtype=kind)
        else:
            values = _read_raw(raw[start : start + size], tensor["datatype"])
            start += size
        found[tensor["name"]] = values.reshape(tensor["shape"])
    return found


def _raw(values: Values) -> bytes | None:
    """None for what the raw form cannot tell."""
    if not isinstance(values, list):
        return values.tobytes()
    texts = [None if value is None else value.encode() for value in values]
    if None in texts:
        return None
    return b"".join(pack("<I", len(text)) + text for text in texts if text is not None)


def _read_raw(raw: memoryview, datatype: str) -> Any:
    if datatype != "BYTES":
        return np.frombuffer(raw, DTYPES[datatype])
    texts, start = [], 0
    while start < len(raw):
        begin = start + 4
        start = begin + unpack_from("<I", raw, start)[0]
        texts.append(str(raw[begin:start], "utf-8"))
    return np.array(texts, dtype=object)


def _tensor_info(told: Mapping[str, Any]) -> TensorInfo:
    return TensorInfo(told["name"], told["datatype"], tuple(told["shape"]))
