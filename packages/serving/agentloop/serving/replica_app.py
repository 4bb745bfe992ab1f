"""The ASGI application of one replica: one parse, one prediction, one encode.

A framework would spend more on a request than the model does, so this is plain ASGI.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import numpy as np
import orjson

from agentloop.contracts.errors import RequestRejected
from agentloop.lifecycle.bundle import Signature
from agentloop.serving.invocations import decode_invocations, encode_invocations
from agentloop.serving.oip import InferenceRequest, decode_infer, encode_infer, model_metadata
from agentloop.serving.ports import Observer, Predictor

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Answer = tuple[int, bytes]

PROBE_HEADER = b"x-agentloop-probe"
# Above this a prediction would keep the event loop from other requests for milliseconds.
INLINE_ROWS = 256
MAX_REASON = 500
_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_NOTHING: Mapping[str, Any] = {}
_NO_LABELS = np.empty(0)

log = logging.getLogger(__name__)


class ReplicaApp:
    """Serves one model version under whatever root path the server mounts it."""

    def __init__(
        self,
        signature: Signature,
        version: str,
        predictor: Predictor,
        observer: Observer | None,
        max_body_bytes: int,
    ) -> None:
        self._signature = signature
        self._version = version
        self._predictor = predictor
        self._observer = observer
        self._max_body_bytes = max_body_bytes
        model = f"/v2/models/{signature.model}"
        own = f"{model}/versions/{version}"
        metadata = orjson.dumps(model_metadata(signature, version))
        live = orjson.dumps({"live": True})
        ready = orjson.dumps({"ready": True, "model": signature.model, "version": version})
        server = {"name": "agentloop", "version": version, "extensions": []}
        self._documents: Mapping[str, bytes] = {
            "/v2": orjson.dumps(server),
            "/v2/health/live": live,
            "/v2/health/ready": ready,
            **dict.fromkeys((model, own), metadata),
            **{f"{base}/ready": ready for base in (model, own)},
        }
        self._endpoints: Mapping[str, str] = {
            f"{model}/infer": "infer",
            f"{own}/infer": "infer",
            "/invocations": "invocations",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)
        else:  # no websockets here: refuse the handshake
            await send({"type": "websocket.close", "code": 1003})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        headers = dict(scope["headers"])
        request_id = _request_id(headers)
        endpoint = self._endpoints.get(path)
        if endpoint is None or scope["method"] != "POST":
            status, body = self._document(path, scope["method"], endpoint)
            await self._answer(send, status, body, request_id)
            return
        started = time.perf_counter()
        request, labels = None, _NO_LABELS
        try:
            content = await self._read(headers, receive)
            request = self._decode(endpoint, content)
            labels, scores = await self._predict(request)
            body = (
                encode_invocations(labels)
                if endpoint == "invocations"
                else encode_infer(self._signature, self._version, labels, scores, request.id)
            )
            status = 200
        except RequestRejected as error:
            status, body = error.status, _error(error.reason)
        except Exception:
            log.exception("a prediction failed (request %s)", request_id)
            status, body = 500, _error("the model could not answer; the replica's log says why")
        await self._answer(send, status, body, request_id)
        if PROBE_HEADER not in headers:
            columns = request.columns if request is not None and status == 200 else _NOTHING
            seconds = time.perf_counter() - started
            self._observe(
                columns, labels if status == 200 else _NO_LABELS, seconds, status, endpoint
            )

    def _document(self, path: str, method: str, endpoint: str | None) -> Answer:
        if endpoint is not None:
            return 405, _error("use POST")
        document = self._documents.get(path)
        if document is None:
            return 404, _error("there is nothing at this path")
        return (200, document) if method in ("GET", "HEAD") else (405, _error("use GET"))

    async def _read(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise RequestRejected(415, "compressed bodies are not accepted")
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestRejected(400, "the client went away")
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._max_body_bytes:
                raise RequestRejected(413, f"the body is over {self._max_body_bytes} bytes")
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _decode(self, endpoint: str, content: bytes) -> InferenceRequest:
        if endpoint == "invocations":
            return decode_invocations(content, self._signature)
        return decode_infer(content, self._signature)

    async def _predict(self, request: InferenceRequest) -> tuple[Any, Any]:
        if request.rows <= INLINE_ROWS:
            return self._predictor.predict(request.columns)
        return await asyncio.to_thread(self._predictor.predict, request.columns)

    async def _answer(self, send: Send, status: int, body: bytes, request_id: bytes) -> None:
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-model-version", self._version.encode()),
            (b"x-request-id", request_id),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _observe(
        self, columns: Mapping[str, Any], labels: Any, seconds: float, status: int, endpoint: str
    ) -> None:
        if self._observer is None:
            return
        try:
            self._observer.observe(columns, labels, seconds, status, endpoint)
        except Exception:  # watching must never fail what is watched
            log.exception("the observer failed")


def _request_id(headers: Mapping[bytes, bytes]) -> bytes:
    given = headers.get(b"x-request-id", b"")
    return given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex.encode()


def _error(reason: str) -> bytes:
    return orjson.dumps({"error": reason[:MAX_REASON]})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
