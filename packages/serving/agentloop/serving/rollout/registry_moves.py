"""Which versions the registry's aliases point at after a deployment."""

from __future__ import annotations

from agentloop.lifecycle.registry import Registry

CHAMPION = "champion"
PREVIOUS = "previous"


def crown(registry: Registry, model: str, version: str, previous: str | None) -> None:
    """Point ``champion`` at the version, and ``previous`` at the one it replaced."""
    champion = registry.alias(model, CHAMPION)
    if champion is None or champion.version != version:
        registry.set_alias(model, CHAMPION, version)
    if previous is not None and previous != version:
        registry.set_alias(model, PREVIOUS, previous)
