"""What a deployment tells the registry: only moves that the lifecycle's table allows."""

from __future__ import annotations

from agentloop.contracts.models import ModelVersion
from agentloop.lifecycle.registry import Registry
from agentloop.lifecycle.transitions import TRANSITIONS, Trigger

CHAMPION = "champion"
PREVIOUS = "previous"


def advance(registry: Registry, model: str, version: str, *triggers: Trigger) -> ModelVersion:
    """Apply each trigger that has an edge from where the version stands; skip the others, so that
    a deployment that is run again after a kill moves nothing twice. Raises VersionNotFound."""
    current = registry.get(model, version)
    for trigger in triggers:
        if (current.stage, trigger) in TRANSITIONS:
            current = registry.transition(model, version, trigger)
    return current


def crown(registry: Registry, model: str, version: str, previous: str | None) -> None:
    """Point ``champion`` at the version, and ``previous`` at the one it replaced."""
    champion = registry.alias(model, CHAMPION)
    if champion is None or champion.version != version:
        registry.set_alias(model, CHAMPION, version)
    if previous is not None and previous != version:
        registry.set_alias(model, PREVIOUS, previous)
