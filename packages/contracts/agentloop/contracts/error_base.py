"""The base of the error tree."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import Any, ClassVar

NOTHING_WRITTEN = "Nothing was written."


def _rebuild(cls: type[AgentLoopError], state: dict[str, Any]) -> AgentLoopError:
    error = cls.__new__(cls)
    error.__dict__.update(state)
    return error


class AgentLoopError(Exception):
    """Base of every error Agent Loop raises on purpose.

    Subclasses are dataclasses whose fields are what a caller needs to react; ``summary`` is one
    sentence, ``kept`` says what survived, ``next_step`` is the command or edit that helps.
    """

    exit_code: ClassVar[int] = 1
    kept: str = NOTHING_WRITTEN
    next_step: str = "run the same command again with --debug to see where"

    @property
    def summary(self) -> str:
        return "Something went wrong."

    def __str__(self) -> str:
        parts = [self.summary, self.kept]
        if self.next_step:
            parts.append(f"Next: {self.next_step}")
        return "\n".join(part for part in parts if part)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), dict(self.__dict__))

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON-ready fields, for ``--json`` and the event log."""
        fields = {k: _plain(v) for k, v in self.__dict__.items() if not k.startswith("_")}
        told = {"error": type(self).__name__, "message": str(self), "exit_code": self.exit_code}
        return {**told, **fields, "kept": self.kept, "next_step": self.next_step}


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
