"""One request to the end: retries, waits and the total deadline. Pure: it says what to do.

``Steps`` are run by whoever owns a connection: a ``Call`` is answered by a ``Reply`` or a
``NoReply``, a ``Pause`` by nothing. The synchronous and the asynchronous client run the very same
steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from random import random
from typing import Any, TypeVar

T = TypeVar("T")
# Not 500: the edge has asked another version already, so that the request itself is what fails.
RETRIED = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Call:
    """A request to send, relative to the endpoint."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait, then ask for the next step."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; the names of ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class NoReply:
    """The connection failed, or the answer did not come in time."""

    reason: str


Steps = Generator[Call | Pause, Any, T]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """``timeout_s`` is one attempt's, ``deadline_s`` that of all of them and of the waits between.

    Waits double from ``first_wait_s`` to ``longest_wait_s`` and are drawn between 0 and that, so
    that clients that failed together do not return together ("full jitter": M. Brooker, Exponential
    Backoff and Jitter, 2015). A ``Retry-After`` is waited for in full. ``chance`` is in [0, 1).
    """

    timeout_s: float = 10.0
    deadline_s: float = 30.0
    attempts: int = 8
    first_wait_s: float = 0.1
    longest_wait_s: float = 2.0
    chance: Callable[[], float] = random
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time

    def wait_s(self, reply: Reply | NoReply, attempt: int) -> float | None:
        """Seconds until the next attempt, ``attempt`` failed ones so far; None: it is final."""
        if isinstance(reply, Reply) and reply.status not in RETRIED:
            return None
        if attempt >= self.attempts:
            return None
        asked = None
        if isinstance(reply, Reply):
            asked = retry_after_s(reply.headers.get("retry-after", ""), self.wall_clock())
        if asked is not None:
            return asked + self.chance() * self.first_wait_s
        longest = min(self.longest_wait_s, self.first_wait_s * 2.0 ** (attempt - 1))
        return self.chance() * longest


def exchange(call: Call, policy: RetryPolicy) -> Steps[Reply | NoReply]:
    """The last reply to ``call``. Only for requests that may be sent twice."""
    ends = policy.clock() + policy.deadline_s
    attempt = 0
    while True:
        attempt += 1
        left = max(ends - policy.clock(), 0.001)
        reply: Reply | NoReply = yield replace(call, timeout_s=min(policy.timeout_s, left))
        wait = policy.wait_s(reply, attempt)
        if wait is None or policy.clock() + wait >= ends:
            return reply
        yield Pause(wait)


def retry_after_s(value: str, now: float) -> float | None:
    """Seconds of a ``Retry-After``: a number or a date (RFC 9110, 10.2.3); None for neither."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - now, 0.0)
    except (ValueError, TypeError, OverflowError):
        return None
