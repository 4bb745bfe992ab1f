"""Nouns of a model's life: version, stage, training result, validation report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal


class Stage(StrEnum):
    """Where a model version stands. The edges are in ``agentloop.lifecycle.TRANSITIONS``."""

    DEVELOPMENT = "Development"
    TRAINING = "Training"
    VALIDATION = "Validation"
    STAGING = "Staging"
    PRODUCTION = "Production"
    MONITORING = "Monitoring"
    ROLLBACK = "Rollback"
    ARCHIVED = "Archived"


ChangeType = Literal["architecture", "improvement", "bugfix"]
Task = Literal["binary", "multiclass", "regression"]


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One immutable, registered model.

    ``version`` is ``MAJOR.MINOR.PATCH-<data8>-<params8>``; ``artifact_uri`` a folder that
    ``agentloop.lifecycle.ModelBundle`` opens and whose seal is ``digest`` (sha256, hex).
    """

    model: str
    version: str
    stage: Stage
    digest: str
    artifact_uri: str
    run_id: str
    data_version: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    created_at: str = ""

    def __str__(self) -> str:
        return self.version


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What ``ModelTrainingPipeline.train_model`` returns."""

    model_version: ModelVersion
    metrics: Mapping[str, float]
    run_id: str


SuiteName = Literal["performance", "robustness", "fairness", "integration", "data_drift"]


@dataclass(frozen=True, slots=True)
class Check:
    """One measured claim: ``value`` with its 95% interval over ``samples``, against ``limit``.

    ``passed`` is None where there was nothing to measure (``samples`` 0): never counted as a pass.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    samples: int
    limit: float | None
    passed: bool | None
    message: str


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """One suite of the gate. ``passed`` is None when it had nothing to measure."""

    suite: SuiteName
    passed: bool | None
    checks: tuple[Check, ...]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What ``ModelValidationPipeline.validate_model`` returns.

    ``test_results`` has the keys of ``SuiteName``. ``model_digest`` ties the report to one bundle.
    """

    model_version: ModelVersion
    test_results: Mapping[str, SuiteResult]
    deployment_approved: bool
    recommendations: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    model_digest: str = ""
    created_at: str = ""


@dataclass(frozen=True, slots=True)
class SignedReport:
    """A report's canonical JSON with an Ed25519 signature over it (both hex but ``body``)."""

    body: str
    signature: str
    public_key: str
