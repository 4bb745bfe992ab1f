"""All that a client does, but the connection: steps that the two clients run."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from agentloop.contracts.errors import (
    AccessDenied,
    ModelNotServed,
    ModelUnreachable,
    RequestRejected,
    ServerBusy,
)
from agentloop.serving.client.bodies import (
    ModelMetadata,
    read_answer,
    read_metadata,
    write_request,
)
from agentloop.serving.client.exchange import (
    Call,
    NoReply,
    Reply,
    RetryPolicy,
    Steps,
    exchange,
    retry_after_s,
)
from agentloop.serving.client.rows import Rows, Values, as_type, to_columns

MAX_REASON = 300


@dataclass(frozen=True, slots=True)
class Batch:
    """What one request of a longer input brought."""

    rows: int
    model_version: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """``labels`` are class labels, or values for regression; ``probabilities`` (rows, classes), or
    None for regression.

    ``model_version`` and ``request_id`` are those of the first of ``batches``; an input that takes
    several goes in one session, so that one version answers all of it unless it is withdrawn.
    """

    labels: tuple[Any, ...]
    probabilities: tuple[tuple[float, ...], ...] | None
    model_version: str
    request_id: str
    batches: tuple[Batch, ...] = ()
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How a client asks. ``headers`` go with every request; ``batch_rows`` are sent at once."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    session: str | None = None
    binary: bool = False
    batch_rows: int = 1000
    retry: RetryPolicy = field(default_factory=RetryPolicy)


class ClientCore:
    """Steps of each thing that a client can be asked. Remembers what each model wants."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._metadata: dict[str, ModelMetadata] = {}

    def predict(
        self, model: str, rows: Rows, headers: Mapping[str, str], binary: bool | None
    ) -> Steps[Prediction]:
        """``headers`` are this prediction's own, and win."""
        metadata = yield from self.metadata(model)
        found = to_columns(rows, [tensor.name for tensor in metadata.inputs])
        columns = {t.name: as_type(found[t.name], t.datatype, t.name) for t in metadata.inputs}
        raw = self._settings.binary if binary is None else binary
        batches = list(_slices(columns, self._settings.batch_rows))
        named = {"x-request-id": uuid.uuid4().hex, **self._session(len(batches) > 1), **headers}
        answers = []
        for number, part in enumerate(batches):
            body, kind = write_request(metadata, part, binary=raw)
            sent = {**kind, **named}
            if number:
                sent["x-request-id"] = f"{named['x-request-id']}.{number}"
            try:
                answers.append((yield from self._ask(model, "POST", "/infer", body, sent)))
            except RequestRejected:
                self._metadata.pop(model, None)  # a newer version may want other columns
                raise
        return _joined(answers, model)

    def metadata(self, model: str) -> Steps[ModelMetadata]:
        """Asked for once a model."""
        if model not in self._metadata:
            reply = yield from self._ask(model, "GET", "")
            try:
                self._metadata[model] = read_metadata(reply.content)
            except ValueError as error:
                raise ModelUnreachable(f"its metadata cannot be read, {error}") from None
        return self._metadata[model]

    def ready(self, path: str) -> Steps[bool]:
        """Whether a health document says yes, asked once."""
        settings = self._settings
        call = Call("GET", path, settings.headers, timeout_s=settings.retry.timeout_s)
        reply: Reply | NoReply = yield call
        if isinstance(reply, Reply) and reply.status in (401, 403):
            raise AccessDenied(reply.status, _reason(reply))
        return isinstance(reply, Reply) and reply.status == 200

    def _ask(
        self,
        model: str,
        method: str,
        suffix: str,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Steps[Reply]:
        settings = self._settings
        sent = {**settings.headers, **(headers or {})}
        call = Call(method, f"v2/models/{model}{suffix}", sent, content)
        reply = yield from exchange(call, settings.retry)
        return checked(reply, model, settings.retry.wall_clock())

    def _session(self, needed: bool) -> dict[str, str]:
        session = self._settings.session or (uuid.uuid4().hex if needed else None)
        return {} if session is None else {"x-session-id": session}


def checked(reply: Reply | NoReply, model: str, now: float = 0.0) -> Reply:
    """A good reply. Raises AccessDenied, ModelNotServed, ModelUnreachable, RequestRejected,
    ServerBusy."""
    if isinstance(reply, NoReply):
        raise ModelUnreachable(reply.reason)
    if reply.status == 200:
        return reply
    reason = _reason(reply)
    match reply.status:
        case 401 | 403:
            raise AccessDenied(reply.status, reason)
        case 404 | 503:
            raise ModelNotServed(model)
        case 429:
            wait = retry_after_s(reply.headers.get("retry-after", ""), now)
            raise ServerBusy(model, reason, wait)
        case status if 400 <= status < 500:
            raise RequestRejected(status, reason)
        case status:
            raise ModelUnreachable(f"status {status}, {reason}")


def _reason(reply: Reply) -> str:
    try:
        return str(orjson.loads(reply.content)["error"])[:MAX_REASON]
    except (ValueError, KeyError, TypeError):
        return reply.content[:MAX_REASON].decode(errors="replace")


def _slices(columns: Mapping[str, Values], size: int) -> Iterator[dict[str, Values]]:
    rows = len(next(iter(columns.values()), ()))
    for start in range(0, max(rows, 1), size):
        yield {name: values[start : start + size] for name, values in columns.items()}


def _joined(replies: list[Reply], model: str) -> Prediction:
    try:
        parts = [read_answer(reply.content, reply.headers) for reply in replies]
    except ValueError as error:
        raise ModelUnreachable(f"the answer of '{model}' cannot be read, {error}") from None
    batches = tuple(
        Batch(len(part.labels), *_names(reply)) for part, reply in zip(parts, replies, strict=True)
    )
    labels = tuple(label for part in parts for label in part.labels)
    chances = None
    if parts[0].probabilities is not None:
        chances = tuple(row for part in parts for row in part.probabilities or ())
    trace = replies[0].headers.get("traceparent", "")
    return Prediction(labels, chances, *_names(replies[0]), batches, trace)


def _names(reply: Reply) -> tuple[str, str]:
    return reply.headers.get("x-model-version", ""), reply.headers.get("x-request-id", "")
