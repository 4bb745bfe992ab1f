"""Scores to answers of the Open Inference Protocol, in JSON or with raw tensors after it. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from agentloop.lifecycle.bundle import Signature
from agentloop.serving.protocol.inference_request import InferenceRequest, RequestedOutput
from agentloop.serving.protocol.json_body import json_list
from agentloop.serving.protocol.oip import output_types
from agentloop.serving.protocol.oip_binary import write_values

_PLAIN = InferenceRequest({}, 0)


class AnswerEncoder:
    """Writes ``infer`` answers of one model version: ``label`` (rows,) and ``probabilities`` (rows,
    classes), or ``value`` (rows,) for regression."""

    def __init__(self, signature: Signature, version: str) -> None:
        self._types = output_types(signature)
        self._regression = signature.task == "regression"
        self._all = tuple(RequestedOutput(name, False) for name in self._types)
        self._all_binary = tuple(RequestedOutput(name, True) for name in self._types)
        self._head = {"model_name": signature.model, "model_version": version}
        # What most answers begin with, written once.
        self._prefix = orjson.dumps(self._head)[:-1] + b',"outputs":['
        self._classes = len(signature.classes)

    def encode(
        self,
        labels: npt.NDArray[Any],
        scores: npt.NDArray[np.float32],
        request: InferenceRequest = _PLAIN,
    ) -> tuple[bytes, int | None]:
        """The body, and the length of its JSON where raw tensors follow it."""
        if request.outputs is None and not request.binary and request.id is None:
            return self._encode_plain(labels, scores), None
        outputs = request.outputs or (self._all_binary if request.binary else self._all)
        values = self._values(labels, scores)
        described, raw = [], []
        for output in outputs:
            tensor, data = self._describe(output, values[output.name])
            described.append(tensor)
            raw.append(data)
        answer: dict[str, Any] = {**self._head, "outputs": described}
        if request.id is not None:
            answer["id"] = request.id
        text = orjson.dumps(answer)
        if not any(output.binary for output in outputs):
            return text, None
        return b"".join([text, *raw]), len(text)

    def _encode_plain(self, labels: npt.NDArray[Any], scores: npt.NDArray[np.float32]) -> bytes:
        rows = len(labels)
        if self._regression:
            data = json_list(labels)
            return b'%b{"name":"value","datatype":"FP64","shape":[%d],"data":%b}]}' % (
                self._prefix,
                rows,
                data,
            )
        return (
            b'%b{"name":"label","datatype":"BYTES","shape":[%d],"data":%b},'
            b'{"name":"probabilities","datatype":"FP32","shape":[%d,%d],"data":%b}]}'
        ) % (
            self._prefix,
            rows,
            json_list(labels),
            rows,
            self._classes,
            json_list(scores.ravel()),
        )

    def _values(
        self, labels: npt.NDArray[Any], scores: npt.NDArray[np.float32]
    ) -> dict[str, npt.NDArray[Any]]:
        return {"value": labels} if self._regression else {"label": labels, "probabilities": scores}

    def _describe(
        self, output: RequestedOutput, values: npt.NDArray[Any]
    ) -> tuple[dict[str, Any], bytes]:
        datatype, _ = self._types[output.name]
        tensor: dict[str, Any] = {
            "name": output.name,
            "datatype": datatype,
            "shape": list(values.shape),
        }
        if output.binary:
            raw = write_values(values, datatype)
            tensor["parameters"] = {"binary_data_size": len(raw)}
            return tensor, raw
        tensor["data"] = orjson.Fragment(json_list(values.ravel()))
        return tensor, b""
