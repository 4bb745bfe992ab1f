"""The serving and rollout sections of loop.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from agentloop.contracts.spec_base import Strict, refusal, shown

LOOPBACK = ("127.0.0.1", "::1", "localhost")
Strategy = Literal["canary", "linear", "blue-green", "shadow", "ab"]
STEPS = (1.0, 5.0, 10.0, 25.0, 50.0, 100.0)


class TlsSpec(Strict):
    """PEM files of the edge's certificate (chain included) and its private key."""

    certificate: str
    key: str


class AutoscaleSpec(Strict):
    """Replicas between ``min`` and ``max``, so that each has ``target_ongoing`` requests."""

    min: int = Field(default=1, ge=1)
    max: int = Field(default=4, ge=1)
    target_ongoing: float = Field(default=8.0, gt=0)

    @model_validator(mode="after")
    def _is_a_range(self) -> AutoscaleSpec:
        if self.max < self.min:
            raise refusal(f"must be at least min ({self.min})", below=["max"])
        return self


class BatchSpec(Strict):
    """Requests that arrive within ``wait_ms`` of one another are predicted together, at most
    ``max_rows`` rows. ``auto`` batches only while that answers more requests."""

    mode: Literal["auto", "on", "off"] = "auto"
    max_rows: int = Field(default=64, ge=1, le=10_000)
    wait_ms: float = Field(default=0.0, ge=0, le=1000)


class ServingSpec(Strict):
    """The ``serving`` section.

    A ``host`` other than loopback needs ``keys: true`` and ``tls``, or ``insecure: true``.
    ``keys`` asks every client for an API key (``agentloop keys create``). A replica answers 429
    while ``max_ongoing`` requests are with it; the edge answers 504 after ``timeout_seconds``.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8700, ge=0, le=65535)
    replicas: int | AutoscaleSpec = 1
    cpus: float = Field(default=0.2, gt=0)
    gpus: float = Field(default=0.0, ge=0)
    batch: BatchSpec = BatchSpec()
    max_ongoing: int = Field(default=256, ge=1)
    max_body_mb: float = Field(default=8.0, gt=0)
    timeout_seconds: float = Field(default=60.0, gt=0)
    keys: bool = False
    tls: TlsSpec | None = None
    access_log: bool = False
    insecure: bool = False

    @field_validator("replicas")
    @classmethod
    def _has_replicas(cls, replicas: int | AutoscaleSpec) -> int | AutoscaleSpec:
        if isinstance(replicas, int) and replicas < 1:
            raise ValueError("must be at least 1")
        return replicas

    @model_validator(mode="after")
    def _is_guarded(self) -> ServingSpec:
        guarded = self.keys and self.tls is not None
        if self.host not in LOOPBACK and not guarded and not self.insecure:
            reason = (
                f"{shown(self.host)} is not loopback: set keys: true and tls, "
                "or insecure: true to allow it without"
            )
            raise refusal(reason, below=["host"])
        return self


class RolloutSpec(Strict):
    """The ``rollout`` section: how a version takes the traffic over, and what stops it.

    ``canary`` grows by ``steps`` (percent), ``linear`` by ``step_percent``, ``blue-green`` moves
    all at once, ``shadow`` answers nobody and is compared with the stable version on
    ``shadow_percent`` of its requests, ``ab`` holds ``ab_percent`` of the sessions
    (``x-session-id``) for as long as ``max_wait_seconds`` or until the judge decides.

    ``probe`` lets the loop replay held-out rows through the public route, so that a rollout has
    evidence where there is no traffic yet. Without it a rollout with no traffic holds.

    What the judge holds the version to, beside the stable one: at most ``max_error_rate`` errors,
    at most ``max_slow_rate`` answers over ``latency_budget_ms``, at most ``max_disagreement`` of
    shadowed rows, predictions that keep their distribution to within ``max_prediction_shift``
    (total variation), an accuracy at most ``max_accuracy_loss`` lower. None: not judged.
    """

    strategy: Strategy = "canary"
    steps: tuple[float, ...] = STEPS
    step_percent: float = Field(default=10.0, gt=0, le=100)
    shadow_percent: float = Field(default=0.0, ge=0, le=100)
    ab_percent: float = Field(default=50.0, gt=0, lt=100)
    step_seconds: float = Field(default=0.5, ge=0)
    min_requests: int = Field(default=50, ge=1)
    max_wait_seconds: float = Field(default=30.0, ge=0)
    bake_seconds: float = Field(default=60.0, ge=0)
    max_error_rate: float = Field(default=0.01, ge=0, le=1)
    latency_budget_ms: float | None = Field(default=None, gt=0)
    max_slow_rate: float = Field(default=0.05, ge=0, le=1)
    max_disagreement: float | None = Field(default=None, ge=0, le=1)
    max_prediction_shift: float | None = Field(default=None, ge=0, le=1)
    max_accuracy_loss: float | None = Field(default=0.02, ge=0, le=1)
    probe: bool = True

    @field_validator("steps")
    @classmethod
    def _steps_grow_to_all(cls, steps: tuple[float, ...]) -> tuple[float, ...]:
        if not steps or steps[-1] != 100 or steps[0] <= 0 or list(steps) != sorted(set(steps)):
            raise ValueError("must grow, above 0, and end at 100")
        return steps

    @property
    def percents(self) -> tuple[float, ...]:
        """The shares that the strategy goes through, the last always 100."""
        if self.strategy == "linear":
            count = int((100 - 1e-9) // self.step_percent)
            return (*(self.step_percent * (i + 1) for i in range(count)), 100.0)
        if self.strategy == "ab":
            return self.ab_percent, 100.0
        return self.steps if self.strategy == "canary" else (100.0,)
