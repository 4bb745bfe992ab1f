"""What a replica answers to GET: its health, its metadata and its documentation. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import orjson

from agentloop.lifecycle.bundle import Signature
from agentloop.lifecycle.reference import ReferenceProfile
from agentloop.serving.protocol.oip import model_metadata, server_metadata
from agentloop.serving.protocol.openapi import describe_api
from agentloop.serving.protocol.openapi_page import render_page

Header = tuple[bytes, bytes]

JSON: Header = (b"content-type", b"application/json")
OCTETS: Header = (b"content-type", b"application/octet-stream")
HTML: Header = (b"content-type", b"text/html; charset=utf-8")
# The page is one file: it loads nothing, and nothing may make it.
_POLICY = "default-src 'none'; connect-src 'self'; " + "; ".join(
    f"{kind}-src 'unsafe-inline'" for kind in ("style", "script")
)
_PAGE_POLICY: Header = (b"content-security-policy", _POLICY.encode())
MAX_REASON = 500


class Answer(NamedTuple):
    """A whole answer; ``content_type`` None is JSON."""

    status: int
    body: bytes
    content_type: Header | None = None
    headers: tuple[Header, ...] = ()


class Document(NamedTuple):
    """An answer to GET; ``of_readiness`` where it is one only while the replica is ready."""

    answer: Answer
    of_readiness: bool = False


Documents = Mapping[str, Document]


def error_body(reason: str) -> bytes:
    return orjson.dumps({"error": reason[:MAX_REASON]})


def documents(signature: Signature, version: str, reference: ReferenceProfile | None) -> Documents:
    """By path, below the replica's root."""
    model = f"/v2/models/{signature.model}"
    own = f"{model}/versions/{version}"
    api = describe_api(signature, version, reference)
    page = Document(Answer(200, render_page(api).encode(), HTML, (_PAGE_POLICY,)))
    ready = Document(_json({"ready": True, "model": signature.model, "version": version}), True)
    metadata = Document(_json(model_metadata(signature, version)))
    description = Document(_json(api))
    return {
        "/v2": Document(_json(server_metadata(version))),
        "/v2/health/live": Document(_json({"live": True})),
        "/v2/health/ready": ready,
        "/ping": ready,
        "/health": ready,
        "/version": Document(_json({"model": signature.model, "version": version})),
        **dict.fromkeys((model, own), metadata),
        **{f"{base}/ready": ready for base in (model, own)},
        **{f"{base}/openapi.json": description for base in ("", model, own)},
        **{f"{base}/docs": page for base in ("", model, own)},
    }


def find_document(
    known: Documents, path: str, method: str, endpoint: str | None, ready: bool
) -> Answer:
    """The answer to a request that asks for no prediction; ``endpoint`` is what its path is."""
    if endpoint is not None:
        return Answer(405, error_body("use POST"), None, ((b"allow", b"POST"),))
    document = known.get(path)
    if document is None:
        return Answer(404, error_body("there is nothing at this path"))
    if method not in ("GET", "HEAD"):
        return Answer(405, error_body("use GET"), None, ((b"allow", b"GET, HEAD"),))
    if document.of_readiness and not ready:
        return Answer(503, error_body("this replica is going away"))
    return document.answer


def _json(value: object) -> Answer:
    return Answer(200, orjson.dumps(value))
