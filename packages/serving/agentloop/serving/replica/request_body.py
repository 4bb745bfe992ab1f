"""A request's body in memory, within what one request and all together may take."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from agentloop.contracts.errors import RequestRejected

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

# Large bodies, from their arrival to their answer, of all requests together: what keeps many of
# them from filling the memory. A small body that comes in one piece is never counted.
MAX_ARRIVING_BYTES = 64_000_000

# curl says the second of what it is given with -d.
_TAKEN = frozenset(
    {b"application/json", b"application/x-www-form-urlencoded", b"application/octet-stream"}
)


class BodyReader:
    """Reads bodies of at most ``max_bytes``."""

    def __init__(self, max_bytes: int, max_arriving: int = MAX_ARRIVING_BYTES) -> None:
        self._max_bytes = max_bytes
        self._max_arriving = max(max_arriving, max_bytes)
        self._arriving = 0

    async def read(self, receive: Receive) -> bytes:
        """The whole body. Raises RequestRejected (400, 413, 429)."""
        message = await receive()
        chunk: bytes = message.get("body", b"")
        if message["type"] != "http.disconnect" and not message.get("more_body", False):
            self._check_size(len(chunk))
            return chunk
        chunks: list[bytes] = []
        size = 0
        try:
            while True:
                if message["type"] == "http.disconnect":
                    raise RequestRejected(400, "the client went away")
                chunk = message.get("body", b"")
                size += len(chunk)
                self._arriving += len(chunk)
                self._check_size(size)
                if self._arriving > self._max_arriving:
                    raise RequestRejected(429, "too many large bodies are arriving at this replica")
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return b"".join(chunks)
                message = await receive()
        finally:
            self._arriving -= size

    @contextmanager
    def held(self, size: int) -> Iterator[None]:
        """From a large body's arrival to its prediction. Raises RequestRejected (429)."""
        if self._arriving + size > self._max_arriving:
            raise RequestRejected(429, "too many large bodies are waiting at this replica")
        self._arriving += size
        try:
            yield
        finally:
            self._arriving -= size

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise RequestRejected(413, f"the body is over {self._max_bytes} bytes")


def check_content_type(headers: Mapping[bytes, bytes]) -> None:
    """Raises RequestRejected (415) for a body that would have to be unpacked or is no JSON."""
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise RequestRejected(415, "compressed bodies are not accepted")
    given = headers.get(b"content-type")
    if given is None or given in _TAKEN:
        return
    kind, _, parameters = given.lower().partition(b";")
    if kind.strip() not in _TAKEN:
        raise RequestRejected(415, "the content type must be application/json")
    charset = parameters.strip()
    if charset.startswith(b"charset=") and charset[8:].strip(b'"') not in (b"utf-8", b"utf8"):
        raise RequestRejected(415, "the character set must be UTF-8")
