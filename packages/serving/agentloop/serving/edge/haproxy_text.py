"""The few shapes that HAProxy's configuration is made of."""

from __future__ import annotations

JSON = "content-type application/json"


def section(title: str, *lines: str) -> str:
    return "\n".join([title, *(f"    {line}" for line in lines), ""])


def quoted(reason: str) -> str:
    return '\'{"error":"' + reason + "\"}'"


def reply(status: int, reason: str, condition: str = "", header: str = "") -> str:
    """A rule that answers ``{"error": reason}`` where ``condition`` holds."""
    extra = f" hdr {header}" if header else ""
    rule = f"http-request return status {status} {JSON}{extra} string {quoted(reason)}"
    return f"{rule} if {condition}" if condition else rule
