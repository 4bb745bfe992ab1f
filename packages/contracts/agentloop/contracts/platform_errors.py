"""What can go wrong below the models: cluster, state folder, monitoring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agentloop.contracts.error_base import NOTHING_WRITTEN, AgentLoopError


@dataclass(eq=False)
class ClusterError(AgentLoopError):
    reason: str
    next_step: str = "agentloop down, then run again"
    kept: str = "Data, models and the traffic plan are kept under the state folder."
    exit_code: ClassVar[int] = 70

    @property
    def summary(self) -> str:
        return f"The Ray cluster cannot be used: {self.reason}."


@dataclass(eq=False)
class PortInUse(ClusterError):
    port: int = 0
    exit_code: ClassVar[int] = 71

    @property
    def summary(self) -> str:
        return f"Port {self.port} cannot be used: {self.reason}."


@dataclass(eq=False)
class StaleCluster(ClusterError):
    exit_code: ClassVar[int] = 72

    @property
    def summary(self) -> str:
        return f"The recorded Ray cluster is gone or unusable: {self.reason}."


@dataclass(eq=False)
class ForeignCluster(ClusterError):
    exit_code: ClassVar[int] = 73

    @property
    def summary(self) -> str:
        return f"A Ray cluster that Agent Loop did not start cannot be used: {self.reason}."


class StateError(AgentLoopError):
    exit_code = 80


@dataclass(eq=False)
class StateLocked(StateError):
    path: str
    pid: int
    exit_code: ClassVar[int] = 81
    kept: str = "The run under way goes on."

    @property
    def summary(self) -> str:
        return f"Another agentloop (process {self.pid}) is using {self.path}."

    @property
    def next_step(self) -> str:  # type: ignore[override]
        return "wait for it, or set AGENTLOOP_HOME to another folder"


@dataclass(eq=False)
class DiskFull(StateError):
    path: str
    needed_mb: int
    free_mb: int
    kept: str = NOTHING_WRITTEN
    exit_code: ClassVar[int] = 82

    @property
    def summary(self) -> str:
        return f"{self.path} has {self.free_mb} MB free; {self.needed_mb} MB are needed."

    @property
    def next_step(self) -> str:  # type: ignore[override]
        return "free some space, or set AGENTLOOP_HOME to another disk"


@dataclass(eq=False)
class StateUnwritable(StateError):
    """How a stage ended could not be recorded in ``store``."""

    store: str
    kept: str = "Every stage that was recorded before is kept."
    next_step: str = "check that the store has space and answers, then run the same command again"
    exit_code: ClassVar[int] = 83

    @property
    def summary(self) -> str:
        return f"The run's progress cannot be recorded in {self.store}."


@dataclass(eq=False)
class StateUnreachable(StateError):
    """The database that keeps durable runs does not let us in."""

    store: str
    reason: str
    kept: str = "Nothing was changed."
    next_step: str = "check AGENTLOOP_DATABASE_URL, and that its server answers"
    exit_code: ClassVar[int] = 84

    @property
    def summary(self) -> str:
        return f"The database of runs, {self.store}, cannot be used: {self.reason}."


@dataclass(eq=False)
class MonitoringError(AgentLoopError):
    reason: str
    exit_code: ClassVar[int] = 90
    kept: str = "The model goes on serving."
    next_step: str = "agentloop status"

    @property
    def summary(self) -> str:
        return f"Monitoring failed: {self.reason}."
