"""The ASGI application of one replica: one parse, one prediction, one encode.

A framework would spend more on a request than the model does, so this is plain ASGI.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from random import Random
from typing import Any, TypeVar

import numpy as np

from agentloop.contracts.errors import RequestRejected
from agentloop.contracts.spec_serving import BatchSpec
from agentloop.lifecycle.bundle import Signature
from agentloop.lifecycle.reference import ReferenceProfile
from agentloop.serving.ports import Observer, Predictor
from agentloop.serving.protocol.decoding import INVOCATIONS, RequestDecoder, json_bytes
from agentloop.serving.protocol.inference_request import InferenceRequest
from agentloop.serving.protocol.invocations import encode_invocations
from agentloop.serving.protocol.oip_answer import AnswerEncoder
from agentloop.serving.protocol.openapi import invocations_path
from agentloop.serving.protocol.trace_context import TraceContext, enter_trace
from agentloop.serving.replica.batching import AUTO, INLINE_ROWS, Batcher
from agentloop.serving.replica.documents import (
    JSON,
    OCTETS,
    Answer,
    documents,
    error_body,
    find_document,
)
from agentloop.serving.replica.evidence import PROBE_HEADER, ReplicaEvidence
from agentloop.serving.replica.large_bodies import LargeBodies
from agentloop.serving.replica.request_body import BodyReader, check_content_type

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Mapping[bytes, bytes]
T = TypeVar("T")

# A longer body takes milliseconds to read.
INLINE_BYTES = 1 << 16
_JSON_LENGTH = b"inference-header-content-length"
_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_BUSY = (429, 503)
_NOTHING: Mapping[str, Any] = {}
_NO_LABELS = np.empty(0)
_NOT_HELD = nullcontext()
_random = Random()

log = logging.getLogger(__name__)


class ReplicaApp:
    """Serves one model version under whatever root path the server mounts it.

    At most ``max_ongoing`` requests wait for their prediction: one more answers 429. ``reference``
    gives the documentation its examples; ``evidence`` hears of each answer.
    """

    def __init__(
        self,
        signature: Signature,
        version: str,
        predictor: Predictor,
        observer: Observer | None,
        max_body_bytes: int,
        *,
        batch: BatchSpec = AUTO,
        max_ongoing: int = 256,
        reference: ReferenceProfile | None = None,
        evidence: ReplicaEvidence | None = None,
    ) -> None:
        self._signature = signature
        self._observer = observer
        self._evidence = evidence
        self._decoder = RequestDecoder(signature)
        self._large = LargeBodies(signature, self._decoder)
        self._encoder = AnswerEncoder(signature, version)
        self._batcher = Batcher(predictor, batch)
        self._body = BodyReader(max_body_bytes)
        # For what takes longer than a turn of the event loop should.
        self._aside = ThreadPoolExecutor(1, "agentloop-aside")
        self._max_ongoing = max_ongoing
        self._ongoing = 0
        self._version = (b"x-model-version", version.encode())
        self._state = "ready"
        self._documents = documents(signature, version, reference)
        model = f"/v2/models/{signature.model}"
        self._endpoints: Mapping[str, str] = {
            f"{model}/infer": "infer",
            f"{model}/versions/{version}/infer": "infer",
            **dict.fromkeys(("/invocations", invocations_path(signature)), "invocations"),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:  # no websockets here: refuse the handshake
            await send({"type": "websocket.close", "code": 1003})

    def drain(self) -> None:
        """Say that no more requests should come; those that do are answered all the same."""
        if self._state == "ready":
            self._state = "draining"

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        headers: Headers = dict(scope["headers"])
        request_id = _request_id(headers)
        trace = _enter_trace(scope, headers)
        endpoint = self._endpoints.get(path)
        # Whether more may come after the answer than anybody said.
        endless = b"transfer-encoding" in headers
        if endpoint is None or scope["method"] != "POST":
            ready = self._state == "ready"
            answer = find_document(self._documents, path, scope["method"], endpoint, ready)
            await self._answer(send, answer, request_id, trace, endless)
            return
        started = time.perf_counter()
        request, labels, content = None, _NO_LABELS, b""
        try:
            content = await self._read(headers, receive)
            endless = False
            with self._body.held(len(content)) if len(content) > INLINE_BYTES else _NOT_HELD:
                request = await self._decode(endpoint, headers, content)
                labels, scores = await self._predict(request)
            answer = await self._encode(endpoint, labels, scores, request)
        except RequestRejected as error:
            answer = Answer(error.status, error_body(error.reason))
        except Exception:
            who = (request_id.decode(), trace.trace_id.decode())
            log.exception("a prediction failed (request %s, trace %s)", *who)
            reason = "the model could not answer; the replica's log says why"
            answer = Answer(500, error_body(reason))
        await self._answer(send, answer, request_id, trace, endless)
        seconds = time.perf_counter() - started
        self._watch(headers, endpoint, content, request, labels, seconds, answer.status)

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        if self._state == "closed":
            raise RequestRejected(503, "this replica is shutting down")
        check_content_type(headers)
        return await self._body.read(receive)

    async def _decode(self, endpoint: str, headers: Headers, content: bytes) -> InferenceRequest:
        length = headers.get(_JSON_LENGTH)
        if len(content) <= INLINE_BYTES:
            return self._decoder.decode(endpoint, content, length)
        if json_bytes(endpoint, content, length) > INLINE_BYTES:
            return await self._large.decode(endpoint, content, length)
        return await self._off_loop(self._decoder.decode, endpoint, content, length)

    async def _off_loop(self, function: Callable[..., T], *arguments: Any) -> T:
        """In the thread, where the event loop gets its turns between."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._aside, function, *arguments)

    async def _predict(self, request: InferenceRequest) -> tuple[Any, Any]:
        if self._batcher.runs_inline(request.rows):
            return self._batcher.predict_now(request.columns)
        if self._ongoing >= self._max_ongoing:
            raise RequestRejected(429, f"{self._ongoing} requests are waiting at this replica")
        self._ongoing += 1
        try:
            return await self._batcher.predict(request.columns, request.rows)
        finally:
            self._ongoing -= 1

    async def _encode(
        self, endpoint: str, labels: Any, scores: Any, request: InferenceRequest
    ) -> Answer:
        if request.rows <= INLINE_ROWS:
            return self._encode_now(endpoint, labels, scores, request)
        return await self._off_loop(self._encode_now, endpoint, labels, scores, request)

    def _encode_now(
        self, endpoint: str, labels: Any, scores: Any, request: InferenceRequest
    ) -> Answer:
        if endpoint == INVOCATIONS:
            return Answer(200, encode_invocations(labels))
        body, json_length = self._encoder.encode(labels, scores, request)
        if json_length is None:
            return Answer(200, body)
        return Answer(200, body, OCTETS, ((_JSON_LENGTH, b"%d" % json_length),))

    async def _answer(
        self, send: Send, answer: Answer, request_id: bytes, trace: TraceContext, endless: bool
    ) -> None:
        headers = [
            JSON if answer.content_type is None else answer.content_type,
            (b"content-length", b"%d" % len(answer.body)),
            self._version,
            (b"x-request-id", request_id),
            (b"traceresponse", trace.parent),
            *answer.headers,
        ]
        if answer.status in _BUSY:
            headers.append((b"retry-after", b"%d" % self._retry_after()))
        if endless:
            # Else the server would read on, and throw away what comes, until the client is done.
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _retry_after(self) -> int:
        """Whole seconds until the requests that wait now should be done."""
        return max(1, math.ceil(self._ongoing * self._batcher.seconds))

    def _watch(
        self,
        headers: Headers,
        endpoint: str,
        content: bytes,
        request: InferenceRequest | None,
        labels: Any,
        seconds: float,
        status: int,
    ) -> None:
        """Tell those who watch about a request that was answered."""
        if self._evidence is not None:
            plain = request is None or (request.outputs is None and not request.binary)
            self._evidence.answered(headers, endpoint, content, labels, seconds, status, plain)
        if self._observer is None or PROBE_HEADER in headers:
            return
        ok = status == 200 and request is not None
        columns = request.columns if ok and request is not None else _NOTHING
        told = (columns, labels if ok else _NO_LABELS, seconds, status, endpoint)
        if len(labels) > INLINE_ROWS and self._state != "closed":
            self._aside.submit(self._observe, *told)
        else:
            self._observe(*told)

    def _observe(self, *told: Any) -> None:
        assert self._observer is not None
        try:
            self._observer.observe(*told)
        except Exception:  # watching must never fail what is watched
            log.exception("the observer failed")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                self._state = "closed"
                self._batcher.close()
                self._large.close()
                self._aside.shutdown(wait=False)
                if self._evidence is not None:
                    self._evidence.close()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return


def _request_id(headers: Headers) -> bytes:
    given = headers.get(b"x-request-id", b"")
    return given if _SANE_ID.fullmatch(given) else b"%032x" % _random.getrandbits(128)


def _enter_trace(scope: Scope, headers: Headers) -> TraceContext:
    parent = headers.get(b"traceparent")
    if parent is None:
        return enter_trace(None)
    pairs = scope["headers"]
    if sum(name == b"traceparent" for name, _ in pairs) > 1:
        return enter_trace(None)
    state = b",".join(value for name, value in pairs if name == b"tracestate")
    return enter_trace(parent, state)
