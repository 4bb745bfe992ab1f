"""What a client of a served model can meet, beside a rejected request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agentloop.contracts.serving_errors import ServingError


@dataclass(eq=False)
class ModelUnreachable(ServingError):
    """No connection, no answer in time, or a server that failed."""

    reason: str
    exit_code: ClassVar[int] = 76
    kept: str = "Nothing was changed: a prediction writes nothing."
    next_step: str = "agentloop status"

    @property
    def summary(self) -> str:
        return f"The model did not answer: {self.reason}."


@dataclass(eq=False)
class AccessDenied(ServingError):
    """The edge asked for an API key (401), or the key does not allow it (403)."""

    status: int
    reason: str
    exit_code: ClassVar[int] = 77
    kept: str = "The model goes on serving."
    next_step: str = "set AGENTLOOP_API_KEY; agentloop keys create makes one"

    @property
    def summary(self) -> str:
        return f"Access was denied ({self.status}): {self.reason}."


@dataclass(eq=False)
class ServerBusy(ServingError):
    """429 for as long as the client was willing to wait. ``retry_after_s`` is the server's word."""

    model: str
    reason: str
    retry_after_s: float | None = None
    exit_code: ClassVar[int] = 85
    kept: str = "The model goes on serving."

    @property
    def summary(self) -> str:
        return f"'{self.model}' takes no more requests now: {self.reason}."

    @property
    def next_step(self) -> str:  # type: ignore[override]
        wait = "" if self.retry_after_s is None else f" in {self.retry_after_s:g} s"
        return f"send it again{wait}, or fewer requests at once"
