"""What can be wrong with loop.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agentloop.contracts.error_base import NOTHING_WRITTEN, AgentLoopError

SpecIssueKind = Literal["key", "value", "family", "syntax", "file"]
_SPEC_EXIT_CODES: dict[SpecIssueKind, int] = {
    "key": 10,
    "value": 11,
    "family": 12,
    "syntax": 13,
    "file": 14,
}


@dataclass(frozen=True, slots=True)
class SpecIssue:
    """One thing wrong with loop.yaml, at a 1-based line; ``nearest`` is a valid spelling."""

    line: int
    key: str
    message: str
    kind: SpecIssueKind
    nearest: str | None = None

    def __str__(self) -> str:
        hint = f" (did you mean '{self.nearest}'?)" if self.nearest else ""
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.key}: {self.message}{hint}" if self.key else f"{where}{self.message}"


@dataclass(eq=False)
class SpecError(AgentLoopError):
    """loop.yaml cannot be used as it stands."""

    path: str
    issues: tuple[SpecIssue, ...]
    kept: str = NOTHING_WRITTEN

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        return _SPEC_EXIT_CODES[self.issues[0].kind] if self.issues else 10

    @property
    def summary(self) -> str:
        lines = "\n".join(f"  {issue}" for issue in self.issues)
        return f"{self.path} cannot be used:\n{lines}"

    @property
    def next_step(self) -> str:  # type: ignore[override]
        if any(issue.kind == "file" for issue in self.issues):
            return "name a loop.yaml that can be read: agentloop check <loop.yaml>"
        return f"edit {self.path}, then: agentloop check {self.path}"
