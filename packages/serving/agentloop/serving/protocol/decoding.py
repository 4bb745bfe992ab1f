"""A request's body to what it holds, by the endpoint that it was sent to. Pure."""

from __future__ import annotations

from agentloop.lifecycle.bundle import Signature
from agentloop.serving.protocol.inference_request import InferenceRequest
from agentloop.serving.protocol.invocations import decode_invocations
from agentloop.serving.protocol.oip import InferDecoder

INVOCATIONS = "invocations"


class RequestDecoder:
    """Reads the bodies that are sent to one model."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._infer = InferDecoder(signature)

    def decode(self, endpoint: str, body: bytes, json_length: bytes | None) -> InferenceRequest:
        """``endpoint`` is ``infer`` or ``invocations``; ``json_length`` the request's
        ``Inference-Header-Content-Length``. Raises RequestRejected (4xx) for what does not fit."""
        if endpoint == INVOCATIONS:
            return decode_invocations(body, self._signature)
        return self._infer.decode(body, json_length)


def json_bytes(endpoint: str, body: bytes, json_length: bytes | None) -> int:
    """How much of ``body`` is JSON, which is what takes time to read; raw tensors are views."""
    if endpoint == INVOCATIONS or json_length is None or not json_length.isdigit():
        return len(body)
    return min(len(body), int(json_length[:12]))
