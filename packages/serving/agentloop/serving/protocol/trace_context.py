"""W3C trace context: who called, and what this hop is called. Pure.

https://www.w3.org/TR/trace-context/ (sections 2.2, 3.2 and 3.3), and ``traceresponse`` of its level
2. A header that is not valid is as good as none: the trace begins here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

# Version ff is forbidden; ids of zeros alone are; versions after 00 may say more behind a dash.
_PARENT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_KEY = rb"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
_VALUE = rb"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(rb"(%b)=%b" % (_KEY, _VALUE))
MAX_MEMBERS = 32
MAX_STATE_BYTES = 8192
# Sampled, and (level 2) a trace id that is random; the rest must be sent on as zeros.
_KNOWN_FLAGS = 0x03
_VERSION_00_BYTES = 55

# Ids are to be unlike one another, not secret; a replica is a process with a seed of its own.
_random = Random()
Bits = Callable[[int], int]


@dataclass(frozen=True, slots=True)
class TraceContext:
    """One hop of a trace: hexadecimal ids in bytes, as headers carry them."""

    trace_id: bytes
    span_id: bytes
    flags: bytes = b"00"
    state: bytes = b""

    @property
    def parent(self) -> bytes:
        """``traceparent`` for what this hop calls, or ``traceresponse`` for who called it."""
        return b"00-%b-%b-%b" % (self.trace_id, self.span_id, self.flags)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What a request that this hop sends carries."""
        sent = [(b"traceparent", self.parent)]
        return [*sent, (b"tracestate", self.state)] if self.state else sent


def enter_trace(
    parent: bytes | None, state: bytes | None = None, bits: Bits = _random.getrandbits
) -> TraceContext:
    """The context of this hop: a new span of the caller's trace, or of a new trace."""
    span = b"%016x" % (bits(64) or 1)
    found = _PARENT.fullmatch(parent.strip(b" \t")) if parent is not None else None
    if parent is None or found is None or not _fits_version(found):
        return TraceContext(b"%032x" % (bits(128) or 1), span)
    flags = b"%02x" % (int(found[4], 16) & _KNOWN_FLAGS)
    return TraceContext(found[2], span, flags, _checked_state(state) if state else b"")


def _fits_version(found: re.Match[bytes]) -> bool:
    return found[1] != b"00" or found.end() == _VERSION_00_BYTES


def _checked_state(state: bytes) -> bytes:
    """``state``, or nothing where one of its members is not valid or is there twice."""
    if len(state) > MAX_STATE_BYTES:
        return b""
    members = [member for part in state.split(b",") if (member := part.strip(b" \t"))]
    matches = [_MEMBER.fullmatch(member) for member in members]
    keys = {match[1] for match in matches if match is not None}
    if len(members) > MAX_MEMBERS or len(keys) != len(members):
        return b""
    return b",".join(members)
