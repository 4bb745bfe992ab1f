"""The error tree. Every error says what happened, what was kept, and what to do next.

    AgentLoopError
    ├── SpecError            10 unknown or missing key, 11 wrong type or value, 12 unknown family,
    │                        13 not YAML, 14 no such file
    ├── DataError            20
    │   ├── SourceNotFound   21
    │   ├── EmptySource      22
    │   ├── TargetMissing    23
    │   ├── SourceUnreadable 24
    │   ├── SchemaMismatch   25
    │   ├── DataQualityError 26
    │   └── VersioningFailed 27
    ├── TrainingError        30
    │   ├── TrainingDiverged 31
    │   └── TrackingFailed   32
    ├── LifecycleError       40
    │   ├── IllegalTransition 41
    │   ├── InvalidVersion   42
    │   ├── VersionNotFound  43
    │   └── ArtifactUnverified 44
    ├── GateRejected         50
    ├── ServingError         60
    │   ├── DeploymentError  61
    │   ├── RolloutConflict  62
    │   ├── StaleEpoch       63
    │   ├── ModelNotServed   64
    │   └── RequestRejected  65
    ├── ClusterError         70
    │   ├── PortInUse        71
    │   ├── StaleCluster     72
    │   └── ForeignCluster   73
    ├── StateError           80
    │   ├── StateLocked      81
    │   └── DiskFull         82
    └── MonitoringError      90

The number is the exit code of the command line. Errors survive pickling, because Ray moves them
between processes; they are data, so they read no clock, environment or file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

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

    exit_code: int = 1
    kept: str = NOTHING_WRITTEN
    next_step: str = ""

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
        fields = {k: v for k, v in self.__dict__.items() if not k.startswith("_")}
        return {"error": type(self).__name__, "message": str(self), **fields}


# --- the spec ------------------------------------------------------------------------------------

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
        return f"edit {self.path}, then: agentloop check {self.path}"


# --- data ----------------------------------------------------------------------------------------


class DataError(AgentLoopError):
    exit_code = 20


@dataclass(eq=False)
class SourceNotFound(DataError):
    source: str
    next_step: str = "set data.source to an existing file, folder or callable"
    kept: str = NOTHING_WRITTEN
    exit_code: ClassVar[int] = 21

    @property
    def summary(self) -> str:
        return f"The data source {self.source} does not exist."


@dataclass(eq=False)
class EmptySource(DataError):
    source: str
    next_step: str = "check that the source has a header and at least one row"
    kept: str = NOTHING_WRITTEN
    exit_code: ClassVar[int] = 22

    @property
    def summary(self) -> str:
        return f"The data source {self.source} holds no rows."


@dataclass(eq=False)
class TargetMissing(DataError):
    target: str
    columns: tuple[str, ...]
    nearest: str | None = None
    kept: str = NOTHING_WRITTEN
    exit_code: ClassVar[int] = 23

    @property
    def summary(self) -> str:
        hint = f" Did you mean '{self.nearest}'?" if self.nearest else ""
        shown = ", ".join(self.columns[:12]) + (", …" if len(self.columns) > 12 else "")
        return f"The target column '{self.target}' is not in the data.{hint} Columns: {shown}."

    @property
    def next_step(self) -> str:  # type: ignore[override]
        return "set data.target to one of these columns"


@dataclass(eq=False)
class SourceUnreadable(DataError):
    source: str
    reason: str
    next_step: str = "check the file's format, encoding and permissions"
    kept: str = NOTHING_WRITTEN
    exit_code: ClassVar[int] = 24

    @property
    def summary(self) -> str:
        return f"The data source {self.source} cannot be read: {self.reason}."


@dataclass(eq=False)
class SchemaMismatch(DataError):
    source: str
    differences: tuple[str, ...]
    kept: str = NOTHING_WRITTEN
    next_step: str = "fix the source, or declare the new schema under data.schema"
    exit_code: ClassVar[int] = 25

    @property
    def summary(self) -> str:
        shown = "\n".join(f"  {line}" for line in self.differences)
        return f"The data source {self.source} does not have the declared schema:\n{shown}"


@dataclass(eq=False)
class DataQualityError(DataError):
    """A batch was rejected. ``errors`` holds one sentence a finding; the batch is in quarantine."""

    errors: tuple[str, ...]
    quarantine: str = ""
    exit_code: ClassVar[int] = 26

    @property
    def summary(self) -> str:
        shown = "\n".join(f"  {line}" for line in self.errors)
        return f"The batch was rejected by its data checks:\n{shown}"

    @property
    def kept(self) -> str:  # type: ignore[override]
        return f"The batch was set aside in {self.quarantine}." if self.quarantine else ""

    @property
    def next_step(self) -> str:  # type: ignore[override]
        return "fix the data, or relax data.checks in loop.yaml"


@dataclass(eq=False)
class VersioningFailed(DataError):
    """git or DVC could not record a dataset version."""

    reason: str
    kept: str = "The versions before it were kept; the new one is not complete."
    next_step: str = "run the same command again: it goes on where this one stopped"
    exit_code: ClassVar[int] = 27

    @property
    def summary(self) -> str:
        return f"The dataset could not be versioned: {self.reason}."


# --- training ------------------------------------------------------------------------------------


@dataclass(eq=False)
class TrainingError(AgentLoopError):
    reason: str
    kept: str = "The dataset version was kept; no model version was registered."
    next_step: str = "run the same command again: it goes on after the last finished stage"
    exit_code: ClassVar[int] = 30

    @property
    def summary(self) -> str:
        return f"Training failed: {self.reason}."


@dataclass(eq=False)
class TrainingDiverged(TrainingError):
    next_step: str = "lower model.parameters.learning_rate, or check the data for extreme values"
    exit_code: ClassVar[int] = 31


@dataclass(eq=False)
class TrackingFailed(TrainingError):
    next_step: str = "check that the tracking store can be reached, then run again"
    exit_code: ClassVar[int] = 32


# --- lifecycle -----------------------------------------------------------------------------------


class LifecycleError(AgentLoopError):
    exit_code = 40


@dataclass(eq=False)
class IllegalTransition(LifecycleError):
    stage: str
    trigger: str
    exit_code: ClassVar[int] = 41
    kept: str = "The model version kept its stage."

    @property
    def summary(self) -> str:
        return f"A model in stage {self.stage} cannot take '{self.trigger}'."


@dataclass(eq=False)
class InvalidVersion(LifecycleError):
    value: str
    reason: str
    exit_code: ClassVar[int] = 42

    @property
    def summary(self) -> str:
        return f"'{self.value}' is not usable: {self.reason}."


@dataclass(eq=False)
class VersionNotFound(LifecycleError):
    model: str
    version: str
    exit_code: ClassVar[int] = 43
    next_step: str = "agentloop status"

    @property
    def summary(self) -> str:
        return f"The registry holds no version '{self.version}' of model '{self.model}'."


@dataclass(eq=False)
class ArtifactUnverified(LifecycleError):
    """The bundle, or the signed report that approves it, is not what was registered."""

    artifact: str
    reason: str
    exit_code: ClassVar[int] = 44
    kept: str = "Traffic was left as it is."
    next_step: str = "train and validate the model again: agentloop run --force loop.yaml"

    @property
    def summary(self) -> str:
        return f"The model artefact {self.artifact} was refused: {self.reason}."


# --- the gate ------------------------------------------------------------------------------------


@dataclass(eq=False)
class GateRejected(AgentLoopError):
    model: str
    version: str
    reasons: tuple[str, ...]
    recommendations: tuple[str, ...] = ()
    exit_code: ClassVar[int] = 50
    kept: str = "The version is registered in Development; live traffic is as it was."

    @property
    def summary(self) -> str:
        shown = "\n".join(f"  {reason}" for reason in self.reasons)
        return f"The gate rejected {self.model} {self.version}:\n{shown}"

    @property
    def next_step(self) -> str:  # type: ignore[override]
        return "; ".join(self.recommendations) or "read the validation report, then train again"


# --- serving -------------------------------------------------------------------------------------


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
        return f"agentloop rollback {self.model}, or wait"


@dataclass(eq=False)
class StaleEpoch(ServingError):
    model: str
    offered: int
    current: int
    exit_code: ClassVar[int] = 63
    kept: str = "The newer traffic split stays."

    @property
    def summary(self) -> str:
        return f"A split of {self.model} at epoch {self.offered} is older than {self.current}."


@dataclass(eq=False)
class ModelNotServed(ServingError):
    model: str
    exit_code: ClassVar[int] = 64
    next_step: str = "agentloop run <loop.yaml>"
    kept: str = ""

    @property
    def summary(self) -> str:
        return f"No version of '{self.model}' is being served."


@dataclass(eq=False)
class RequestRejected(ServingError):
    """A request that can never succeed; ``status`` is the HTTP status (4xx)."""

    status: int
    reason: str
    exit_code: ClassVar[int] = 65
    kept: str = ""

    @property
    def summary(self) -> str:
        return f"The request was rejected ({self.status}): {self.reason}."


# --- cluster and state ---------------------------------------------------------------------------


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
        return f"Port {self.port} is already in use ({self.reason})."


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
        return f"The Ray cluster found was not started by Agent Loop: {self.reason}."


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
    exit_code: ClassVar[int] = 82

    @property
    def summary(self) -> str:
        return f"{self.path} has {self.free_mb} MB free; {self.needed_mb} MB are needed."

    @property
    def next_step(self) -> str:  # type: ignore[override]
        return "free some space, or set AGENTLOOP_HOME to another disk"


@dataclass(eq=False)
class MonitoringError(AgentLoopError):
    reason: str
    exit_code: ClassVar[int] = 90
    kept: str = "The model goes on serving."
    next_step: str = "agentloop status"

    @property
    def summary(self) -> str:
        return f"Monitoring failed: {self.reason}."
