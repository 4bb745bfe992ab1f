"""What happens to versions that nothing serves and nothing goes back to."""

from __future__ import annotations

from agentloop.contracts import ModelVersion
from agentloop.contracts.models import Stage
from agentloop.lifecycle import Registry, Trigger, advance

KEPT_ALIASES = ("champion", "previous")
LIVE = (Stage.PRODUCTION, Stage.MONITORING)


def archive_replaced(registry: Registry, model: str) -> tuple[ModelVersion, ...]:
    """Archive every live version that is neither the champion nor the one a rollback returns to;
    the versions archived."""
    aliased = (registry.alias(model, alias) for alias in KEPT_ALIASES)
    kept = {version.version for version in aliased if version is not None}
    if not kept:
        return ()
    return tuple(
        advance(registry, model, version.version, Trigger.HEALTHY, Trigger.MODEL_DEPRECATED)
        for version in registry.versions(model)
        if version.stage in LIVE and version.version not in kept
    )
