"""Registration: pick the version number, then register in one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agentloop.contracts.models import ChangeType, ModelVersion, Stage
from agentloop.lifecycle.registry import Registry
from agentloop.lifecycle.transitions import INITIAL_STAGE, Trigger, next_stage
from agentloop.lifecycle.versioning import ModelVersioning
from agentloop.training.decisions import ARCHITECTURE_TAG, change_between


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained model on its way into the registry."""

    model: str
    change: ChangeType
    architecture: str
    data_hash: str
    parameters_hash: str
    data_version: str
    digest: str
    artifact_uri: str
    run_id: str
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    created_at: str


class ModelRegistry:
    """Names candidates and hands them to a registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._versioning = ModelVersioning()

    def find(self, model: str, idempotency_key: str) -> ModelVersion | None:
        return self._registry.find(model, idempotency_key)

    def register_model(self, candidate: Candidate, idempotency_key: str) -> ModelVersion:
        """Register once a key, as a version that waits for validation.

        Its data was ready and its training is complete, so it enters in that stage: a kill
        leaves either no version, or one that can be validated.
        """
        base, change = change_between(
            self._registry.versions(candidate.model), candidate.change, candidate.architecture
        )
        number = self._versioning.generate_version(
            base, change, candidate.data_hash, candidate.parameters_hash
        )
        version = ModelVersion(
            model=candidate.model,
            version=number,
            stage=_trained_stage(),
            digest=candidate.digest,
            artifact_uri=candidate.artifact_uri,
            run_id=candidate.run_id,
            data_version=candidate.data_version,
            metrics=dict(candidate.metrics),
            tags={**candidate.tags, ARCHITECTURE_TAG: candidate.architecture, "change": change},
            created_at=candidate.created_at,
        )
        return self._registry.register(version, idempotency_key)


def _trained_stage() -> Stage:
    training = next_stage(INITIAL_STAGE, Trigger.DATA_READY)
    return next_stage(training, Trigger.TRAINING_COMPLETE)
