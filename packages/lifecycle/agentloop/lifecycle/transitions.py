"""The life of a model version, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from agentloop.contracts.errors import IllegalTransition
from agentloop.contracts.models import Stage


class Trigger(StrEnum):
    """What can happen to a model version."""

    DATA_READY = "data ready"
    TRAINING_COMPLETE = "training complete"
    TESTS_PASSED = "tests passed"
    TESTS_FAILED = "tests failed"
    STAGING_TESTS_PASSED = "staging tests passed"
    STAGING_TESTS_FAILED = "staging tests failed"
    DEPLOYED = "deployed"
    HEALTHY = "healthy"
    PERFORMANCE_DEGRADED = "performance degraded"
    PREVIOUS_VERSION_RESTORED = "previous version restored"
    MODEL_DEPRECATED = "model deprecated"


INITIAL_STAGE = Stage.DEVELOPMENT

TRANSITIONS: Mapping[tuple[Stage, Trigger], Stage] = MappingProxyType(
    {
        (Stage.DEVELOPMENT, Trigger.DATA_READY): Stage.TRAINING,
        (Stage.TRAINING, Trigger.TRAINING_COMPLETE): Stage.VALIDATION,
        (Stage.VALIDATION, Trigger.TESTS_PASSED): Stage.STAGING,
        (Stage.VALIDATION, Trigger.TESTS_FAILED): Stage.DEVELOPMENT,
        (Stage.STAGING, Trigger.STAGING_TESTS_PASSED): Stage.PRODUCTION,
        (Stage.STAGING, Trigger.STAGING_TESTS_FAILED): Stage.DEVELOPMENT,
        (Stage.PRODUCTION, Trigger.DEPLOYED): Stage.MONITORING,
        (Stage.MONITORING, Trigger.HEALTHY): Stage.PRODUCTION,
        (Stage.MONITORING, Trigger.PERFORMANCE_DEGRADED): Stage.ROLLBACK,
        (Stage.ROLLBACK, Trigger.PREVIOUS_VERSION_RESTORED): Stage.STAGING,
        (Stage.PRODUCTION, Trigger.MODEL_DEPRECATED): Stage.ARCHIVED,
    }
)


def next_stage(stage: Stage, trigger: Trigger) -> Stage:
    """The stage after ``trigger``. Raises IllegalTransition where the table has no edge."""
    try:
        return TRANSITIONS[stage, trigger]
    except KeyError:
        raise IllegalTransition(str(stage), str(trigger)) from None
