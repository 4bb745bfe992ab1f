"""Clients of the Open Inference Protocol, synchronous and asynchronous."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import httpx

from agentloop.serving.client.bodies import ModelMetadata
from agentloop.serving.client.core import ClientCore, ClientSettings, Prediction
from agentloop.serving.client.exchange import Call, NoReply, Pause, Reply, RetryPolicy, Steps
from agentloop.serving.client.rows import Rows

__all__ = ["AsyncClient", "Client", "ModelMetadata", "Prediction"]

KEY_VARIABLE = "AGENTLOOP_API_KEY"
T = TypeVar("T")


class _Connected:
    """What the two clients share: how they ask, and where."""

    _connector: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        endpoint: str,
        timeout_s: float = 10.0,
        *,
        deadline_s: float = 30.0,
        api_key: str | None = None,
        verify: bool | str | Path = True,
        session: str | None = None,
        binary: bool = False,
        batch_rows: int = 1000,
        retry: RetryPolicy | None = None,
        transport: Any = None,
    ) -> None:
        """A client of the edge at ``endpoint``, a base URL, or of a staged version's private URL.

        One attempt takes at most ``timeout_s``, a request with its retries ``deadline_s``.
        ``api_key`` is that of the environment (AGENTLOOP_API_KEY) unless given. ``verify`` names
        the PEM file of the authority that signed the edge's certificate; False trusts any.
        ``session`` keeps all requests on one version. ``binary`` sends raw tensors, which is
        cheaper for many rows; ``batch_rows`` go with one request. ``retry`` overrides all of the
        timing; ``transport`` is httpx's, for tests.
        """
        key = os.environ.get(KEY_VARIABLE) if api_key is None else api_key
        headers = {"authorization": f"Bearer {key}"} if key else {}
        policy = retry or RetryPolicy(timeout_s, deadline_s)
        self._core = ClientCore(ClientSettings(headers, session, binary, batch_rows, policy))
        base_url = endpoint.rstrip("/") + "/"
        self._http = self._connector(base_url=base_url, verify=_trust(verify), transport=transport)


class Client(_Connected):
    """Talks to served models; connections are kept. Close it, or use it in ``with``."""

    _connector = httpx.Client

    def predict(
        self,
        model: str,
        rows: Rows,
        *,
        session: str | None = None,
        request_id: str | None = None,
        traceparent: str | None = None,
        version: str | None = None,
        binary: bool | None = None,
    ) -> Prediction:
        """Predict for rows of raw columns: a mapping, a list of them, a mapping of columns, a
        pandas or Polars table, or an array (rows, columns) in the order of ``metadata``.

        ``session`` decides the version; ``version`` asks for one by name, which takes a tester's
        key. Raises RequestRejected (4xx), AccessDenied, ModelNotServed, ServerBusy, and
        ModelUnreachable.
        """
        headers = call_headers(session, request_id, traceparent, version)
        return self._run(self._core.predict(model, rows, headers, binary))

    def metadata(self, model: str) -> ModelMetadata:
        """What a model wants and gives; asked once. Raises as ``predict`` does."""
        return self._run(self._core.metadata(model))

    def ready(self, model: str | None = None) -> bool:
        """Whether ``model``, or all of the edge, answers now. Raises AccessDenied."""
        return self._run(self._core.ready(_health(model)))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, steps: Steps[T]) -> T:
        reply: Reply | NoReply | None = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as end:
                return end.value
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                reply = None
                continue
            try:
                reply = _reply(self._http.request(**_request(step)))
            except httpx.TransportError as error:
                reply = _no_reply(self._http.base_url, error)


class AsyncClient(_Connected):
    """As ``Client``, with methods to be awaited. Close it, or use it in ``async with``."""

    _connector = httpx.AsyncClient

    async def predict(
        self,
        model: str,
        rows: Rows,
        *,
        session: str | None = None,
        request_id: str | None = None,
        traceparent: str | None = None,
        version: str | None = None,
        binary: bool | None = None,
    ) -> Prediction:
        headers = call_headers(session, request_id, traceparent, version)
        return await self._run(self._core.predict(model, rows, headers, binary))

    predict.__doc__ = Client.predict.__doc__

    async def metadata(self, model: str) -> ModelMetadata:
        """What a model wants and gives; asked once. Raises as ``predict`` does."""
        return await self._run(self._core.metadata(model))

    async def ready(self, model: str | None = None) -> bool:
        """Whether ``model``, or all of the edge, answers now. Raises AccessDenied."""
        return await self._run(self._core.ready(_health(model)))

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _run(self, steps: Steps[T]) -> T:
        reply: Reply | NoReply | None = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as end:
                return end.value
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                reply = None
                continue
            try:
                reply = _reply(await self._http.request(**_request(step)))
            except httpx.TransportError as error:
                reply = _no_reply(self._http.base_url, error)


def call_headers(
    session: str | None, request_id: str | None, traceparent: str | None, version: str | None
) -> dict[str, str]:
    """Those of one prediction."""
    given = {
        "x-session-id": session,
        "x-request-id": request_id,
        "traceparent": traceparent,
        "x-agentloop-version": version,
    }
    return {name: value for name, value in given.items() if value is not None}


def _health(model: str | None) -> str:
    return "v2/health/ready" if model is None else f"v2/models/{model}/ready"


def _trust(verify: bool | str | Path) -> bool | ssl.SSLContext:
    if isinstance(verify, bool):
        return verify
    return ssl.create_default_context(cafile=str(verify))


def _request(call: Call) -> dict[str, Any]:
    return {
        "method": call.method,
        "url": call.path,
        "headers": dict(call.headers),
        "content": call.content,
        "timeout": call.timeout_s,
    }


def _reply(answer: httpx.Response) -> Reply:
    return Reply(answer.status_code, dict(answer.headers), answer.content)


def _no_reply(endpoint: object, error: httpx.TransportError) -> NoReply:
    reason = str(error) or type(error).__name__
    return NoReply(f"{endpoint} cannot be reached: {reason}")
