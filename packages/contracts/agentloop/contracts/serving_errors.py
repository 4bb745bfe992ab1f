"""What can go wrong while serving."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agentloop.contracts.error_base import AgentLoopError


class ServingError(AgentLoopError):
    exit_code = 60
    kept = "Live traffic is as it was."


@dataclass(eq=False)
class DeploymentError(ServingError):
    model: str
    version: str
    reason: str
    exit_code: ClassVar[int] = 61
    kept: str = "Live traffic is back on the previous version."
    next_step: str = "agentloop status"

    @property
    def summary(self) -> str:
        return f"The deployment of {self.model} {self.version} failed: {self.reason}."


@dataclass(eq=False)
class RolloutConflict(ServingError):
    model: str
    active: str
    requested: str
    exit_code: ClassVar[int] = 62
    kept: str = "The rollout under way goes on."

    @property
    def summary(self) -> str:
        return (
            f"{self.model} is already rolling out {self.active}; "
            f"{self.requested} cannot start before it ends."
        )

    @property
    def next_step(self) -> str:  # type: ignore[override]
        return f"agentloop rollout abort {self.model}, or wait"


@dataclass(eq=False)
class StaleEpoch(ServingError):
    model: str
    offered: int
    current: int
    exit_code: ClassVar[int] = 63
    next_step: str = "agentloop status"
    kept: str = "The newer traffic split stays."

    @property
    def summary(self) -> str:
        return f"A split of {self.model} at epoch {self.offered} is older than {self.current}."


@dataclass(eq=False)
class ModelNotServed(ServingError):
    model: str
    exit_code: ClassVar[int] = 64
    next_step: str = "agentloop run <loop.yaml>"
    kept: str = "Nothing was changed."

    @property
    def summary(self) -> str:
        return f"No version of '{self.model}' is being served."


@dataclass(eq=False)
class RequestRejected(ServingError):
    """A request that can never succeed; ``status`` is the HTTP status (4xx)."""

    status: int
    reason: str
    exit_code: ClassVar[int] = 65
    kept: str = "The model goes on serving."
    next_step: str = "correct the request, then send it again"

    @property
    def summary(self) -> str:
        return f"The request was rejected ({self.status}): {self.reason}."


@dataclass(eq=False)
class RolloutOvertaken(ServingError):
    """Raised in the process that was running a rollout and has lost its say."""

    model: str
    version: str
    reason: str
    exit_code: ClassVar[int] = 66
    kept: str = "What the newer controller decided stays."

    @property
    def summary(self) -> str:
        return f"The rollout of {self.model} {self.version} was taken over: {self.reason}."

    @property
    def next_step(self) -> str:  # type: ignore[override]
        return f"agentloop rollout status {self.model}"


@dataclass(eq=False)
class NoRollout(ServingError):
    """Nothing is under way that could be paused, resumed or aborted."""

    model: str
    reason: str
    next_step: str = "agentloop rollout history"
    exit_code: ClassVar[int] = 67
    kept: str = "Traffic was left as it is."

    @property
    def summary(self) -> str:
        return f"No rollout of '{self.model}' is under way: {self.reason}."


@dataclass(eq=False)
class PlanOutdated(ServingError):
    """A saved plan that no longer fits what is served, or is no plan (then of model ``?``)."""

    model: str
    reason: str
    exit_code: ClassVar[int] = 68
    kept: str = "Nothing was started."

    @property
    def summary(self) -> str:
        named = "" if self.model == "?" else f" for {self.model}"
        return f"The plan{named} cannot be applied: {self.reason}."

    @property
    def next_step(self) -> str:  # type: ignore[override]
        named = "" if self.model == "?" else f"{self.model} "
        return f"agentloop rollout plan {named}--json > plan.json"
