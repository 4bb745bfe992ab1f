"""What can go wrong with a model: its training, its life, its gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agentloop.contracts.error_base import AgentLoopError


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


class LifecycleError(AgentLoopError):
    exit_code = 40


@dataclass(eq=False)
class IllegalTransition(LifecycleError):
    stage: str
    trigger: str
    exit_code: ClassVar[int] = 41
    next_step: str = "agentloop status"
    kept: str = "The model version kept its stage."

    @property
    def summary(self) -> str:
        return f"A model in stage {self.stage} cannot take '{self.trigger}'."


@dataclass(eq=False)
class InvalidVersion(LifecycleError):
    value: str
    reason: str
    exit_code: ClassVar[int] = 42
    next_step: str = "pass a value of that form"

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


@dataclass(eq=False)
class ModelNotReproduced(LifecycleError):
    """A version's last fit, done again, gave another model."""

    model: str
    version: str
    differences: tuple[str, ...]
    exit_code: ClassVar[int] = 45
    kept: str = "Nothing was registered; the version is as it was."
    next_step: str = (
        "train with the recorded packages and as many processors (recipe.json in the bundle)"
    )

    @property
    def summary(self) -> str:
        shown = "\n".join(f"  {difference}" for difference in self.differences)
        return f"{self.model} {self.version} was not reproduced:\n{shown}"


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
