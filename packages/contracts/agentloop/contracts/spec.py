"""loop.yaml as pydantic models: the border where text becomes a checked spec.

Unknown keys are refused. ``agentloop.contracts.spec_file.load_spec`` reads a file into a
``LoopSpec`` and turns pydantic's errors into ``SpecError`` with line numbers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from agentloop.contracts.data import ColumnKind, Severity

FAMILIES = ("linear", "mlp")
NAME_PATTERN = r"^[a-z][a-z0-9-]{0,62}$"
CALLABLE_PATTERN = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# --- data ----------------------------------------------------------------------------------------


class FileSource(Strict):
    """``path`` is a file, a folder or a glob, relative to loop.yaml."""

    kind: Literal["csv", "jsonl", "parquet"]
    path: str = Field(min_length=1)


class CallableSource(Strict):
    """``target`` is ``module:function``; modules beside loop.yaml are found. The function takes no
    argument and returns a pandas DataFrame or a pyarrow Table."""

    kind: Literal["callable"]
    target: str = Field(pattern=CALLABLE_PATTERN)


SourceSpec = Annotated[FileSource | CallableSource, Field(discriminator="kind")]


class ColumnSpec(Strict):
    """A declared column. What is not declared is inferred and then frozen."""

    kind: ColumnKind | None = None
    nullable: bool = True
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] | None = None
    unique: bool = False


class ChecksSpec(Strict):
    """What a batch must hold. ``on_failure`` says what a failing row does."""

    min_rows: int = Field(default=50, ge=1)
    max_null_rate: float = Field(default=0.5, ge=0, le=1)
    max_anomaly_rate: float = Field(default=0.2, ge=0, le=1)
    on_failure: Severity = "reject"


class SplitSpec(Strict):
    """Rows go to test by a hash of their content or position, so a split never moves."""

    test: float = Field(default=0.25, gt=0, lt=1)
    seed: int = 0


class DataSourceConfig(Strict):
    """The ``data`` section: where rows come from and what they must be."""

    source: SourceSpec
    target: str = Field(min_length=1)
    columns: dict[str, ColumnSpec] = Field(default_factory=dict)
    drop: tuple[str, ...] = ()
    missing: tuple[str, ...] = ("", "NA", "NaN", "null", "?")
    checks: ChecksSpec = ChecksSpec()
    split: SplitSpec = SplitSpec()


# --- model ---------------------------------------------------------------------------------------


class ParametersSpec(Strict):
    """Hyper-parameters; a search replaces those that its space names."""

    hidden: tuple[int, ...] = (64,)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    learning_rate: float = Field(default=1e-2, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    batch_size: int = Field(default=128, ge=1)
    epochs: int = Field(default=30, ge=1)

    @field_validator("hidden")
    @classmethod
    def _widths_are_positive(cls, hidden: tuple[int, ...]) -> tuple[int, ...]:
        if not hidden or any(width < 1 for width in hidden):
            raise ValueError("needs one positive width a layer")
        return hidden


class RangeSpec(Strict):
    """A searched number: ``low`` to ``high``, on a log scale if asked; ``integer`` for whole."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> RangeSpec:
        if not self.low < self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        if self.log and self.low <= 0:
            raise ValueError("a log scale needs low > 0")
        return self


class ChoiceSpec(Strict):
    """A searched choice."""

    choices: tuple[Any, ...] = Field(min_length=1)


SEARCHABLE = tuple(ParametersSpec.model_fields)


class SearchSpec(Strict):
    """An Optuna search over ``model.parameters``, run as Ray Tune trials."""

    trials: int = Field(default=4, ge=0)
    concurrency: int = Field(default=2, ge=1)
    space: dict[str, RangeSpec | ChoiceSpec] = Field(default_factory=dict)

    @field_validator("space")
    @classmethod
    def _names_are_parameters(cls, space: dict[str, Any]) -> dict[str, Any]:
        for name in space:
            if name not in SEARCHABLE:
                raise ValueError(f"'{name}' is no parameter; choose from {', '.join(SEARCHABLE)}")
        return space


class ModelSpec(Strict):
    """The ``model`` section. ``family`` is a built-in name or ``module:callable``, which takes
    ``(inputs: int, outputs: int, parameters: dict)`` and returns a ``torch.nn.Module``.

    ``num_workers: auto`` trains in the calling process when the data fits one comfortably.
    """

    family: str = "mlp"
    parameters: ParametersSpec = ParametersSpec()
    search: SearchSpec = SearchSpec()
    num_workers: int | Literal["auto"] = "auto"
    use_gpu: bool | Literal["auto"] = "auto"
    seed: int = 0
    change: Literal["architecture", "improvement", "bugfix"] = "improvement"

    @field_validator("family")
    @classmethod
    def _family_is_known(cls, family: str) -> str:
        import re

        if family in FAMILIES or re.match(CALLABLE_PATTERN, family):
            return family
        raise ValueError(f"unknown model family '{family}'; choose from {', '.join(FAMILIES)}")

    @field_validator("num_workers")
    @classmethod
    def _workers_are_not_negative(cls, workers: int | str) -> int | str:
        if isinstance(workers, int) and workers < 0:
            raise ValueError("must be 0 or more, or auto")
        return workers


# --- the gate, serving, monitoring ---------------------------------------------------------------


class GateSpec(Strict):
    """The ``validation`` section: limits a model must hold to be let near traffic."""

    min_accuracy: float = Field(default=0.7, ge=0, le=1)
    max_regression: float = Field(default=0.02, ge=0, le=1)
    max_p99_ms: float = Field(default=250.0, gt=0)
    max_noise_drop: float = Field(default=0.15, ge=0, le=1)
    max_adversarial_drop: float | None = Field(default=None, ge=0, le=1)
    sensitive: tuple[str, ...] = ()
    max_group_gap: float = Field(default=0.15, ge=0, le=1)


class ServingSpec(Strict):
    """The ``serving`` section. ``host`` other than loopback also needs ``insecure: true``."""

    host: str = "127.0.0.1"
    port: int = Field(default=8700, ge=0, le=65535)
    replicas: int = Field(default=1, ge=1)
    cpus: float = Field(default=0.2, gt=0)
    max_body_mb: float = Field(default=8.0, gt=0)
    insecure: bool = False

    @model_validator(mode="after")
    def _stays_on_loopback(self) -> ServingSpec:
        if self.host not in ("127.0.0.1", "::1", "localhost") and not self.insecure:
            raise ValueError(f"host {self.host} is not loopback: set insecure: true to allow it")
        return self


class RolloutSpec(Strict):
    """The ``rollout`` section: the canary's steps, in percent, and how long it bakes.

    ``probe`` lets the loop replay held-out rows through the public route, so that a rollout has
    evidence where there is no traffic yet. Without it a rollout with no traffic holds.
    """

    steps: tuple[float, ...] = (10.0, 50.0, 100.0)
    step_seconds: float = Field(default=1.0, ge=0)
    min_requests: int = Field(default=50, ge=1)
    max_wait_seconds: float = Field(default=30.0, ge=0)
    bake_seconds: float = Field(default=60.0, ge=0)
    max_error_rate: float = Field(default=0.01, ge=0, le=1)
    probe: bool = True

    @field_validator("steps")
    @classmethod
    def _steps_grow_to_all(cls, steps: tuple[float, ...]) -> tuple[float, ...]:
        if not steps or steps[-1] != 100 or steps[0] <= 0 or list(steps) != sorted(set(steps)):
            raise ValueError("must grow, above 0, and end at 100")
        return steps


class BusinessValueSpec(Strict):
    """What one answered prediction is worth, for ``business_value_generated``."""

    use_case: str
    value_type: str = "usd"
    per_prediction: float


class MonitoringSpec(Strict):
    """The ``monitoring`` section."""

    flush_seconds: float = Field(default=2.0, gt=0)
    cycle_seconds: float = Field(default=10.0, gt=0)
    min_rows: int = Field(default=1000, ge=1)
    max_drift_score: float = Field(default=0.1, gt=0, le=1)
    port: int = Field(default=8701, ge=0, le=65535)
    business_value: tuple[BusinessValueSpec, ...] = ()


class LoopSpec(Strict):
    """One loop.yaml."""

    name: str = Field(pattern=NAME_PATTERN)
    description: str = ""
    data: DataSourceConfig
    model: ModelSpec = ModelSpec()
    validation: GateSpec = GateSpec()
    serving: ServingSpec = ServingSpec()
    rollout: RolloutSpec = RolloutSpec()
    monitoring: MonitoringSpec = MonitoringSpec()
