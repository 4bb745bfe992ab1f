"""The registry port, and the in-memory registry that tests and dry runs use."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock
from typing import Protocol

from agentloop.contracts.errors import InvalidVersion, VersionNotFound
from agentloop.contracts.models import ModelVersion
from agentloop.lifecycle.transitions import TRANSITIONS, Trigger, next_stage


class RegistryReader(Protocol):
    """What a gate or a router may ask."""

    def get(self, model: str, version: str) -> ModelVersion:
        """Raises VersionNotFound."""

    def versions(self, model: str) -> tuple[ModelVersion, ...]:
        """Every version of ``model``, oldest first; empty for an unknown model."""

    def find(self, model: str, idempotency_key: str) -> ModelVersion | None:
        """The version registered under that key, if any."""

    def alias(self, model: str, alias: str) -> ModelVersion | None:
        """The version that ``alias`` (``champion``, ``challenger``) points to, if any."""


class Registry(RegistryReader, Protocol):
    """What the loop may do."""

    def register(self, candidate: ModelVersion, idempotency_key: str) -> ModelVersion:
        """Register once a key: a second call with the key returns the first call's version.

        Raises InvalidVersion if the number belongs to another key's version.
        """

    def transition(self, model: str, version: str, trigger: Trigger) -> ModelVersion:
        """Move a version along the table. Raises IllegalTransition, VersionNotFound."""

    def set_alias(self, model: str, alias: str, version: str) -> None:
        """Point ``alias`` at a version. Raises VersionNotFound."""

    def tag(self, model: str, version: str, key: str, value: str) -> ModelVersion:
        """Keep a piece of evidence with a version. Raises VersionNotFound."""


class MemoryRegistry:
    """A registry for one process; the same behaviour as every other one."""

    def __init__(self) -> None:
        self._versions: dict[str, dict[str, ModelVersion]] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self._aliases: dict[tuple[str, str], str] = {}
        self._lock = Lock()

    def get(self, model: str, version: str) -> ModelVersion:
        try:
            return self._versions[model][version]
        except KeyError:
            raise VersionNotFound(model, version) from None

    def versions(self, model: str) -> tuple[ModelVersion, ...]:
        return tuple(self._versions.get(model, {}).values())

    def find(self, model: str, idempotency_key: str) -> ModelVersion | None:
        version = self._keys.get((model, idempotency_key))
        return self.get(model, version) if version else None

    def alias(self, model: str, alias: str) -> ModelVersion | None:
        version = self._aliases.get((model, alias))
        return self.get(model, version) if version else None

    def register(self, candidate: ModelVersion, idempotency_key: str) -> ModelVersion:
        with self._lock:
            known = self.find(candidate.model, idempotency_key)
            if known is not None:
                return known
            if candidate.version in self._versions.get(candidate.model, {}):
                reason = "another model is registered under it already"
                raise InvalidVersion(candidate.version, reason)
            kept = replace(candidate, metrics=dict(candidate.metrics), tags=dict(candidate.tags))
            self._versions.setdefault(kept.model, {})[kept.version] = kept
            self._keys[kept.model, idempotency_key] = kept.version
            return kept

    def transition(self, model: str, version: str, trigger: Trigger) -> ModelVersion:
        with self._lock:
            current = self.get(model, version)
            return self._put(replace(current, stage=next_stage(current.stage, trigger)))

    def set_alias(self, model: str, alias: str, version: str) -> None:
        self._aliases[model, alias] = self.get(model, version).version

    def tag(self, model: str, version: str, key: str, value: str) -> ModelVersion:
        with self._lock:
            current = self.get(model, version)
            return self._put(replace(current, tags={**current.tags, key: value}))

    def _put(self, version: ModelVersion) -> ModelVersion:
        self._versions[version.model][version.version] = version
        return version


def advance(registry: Registry, model: str, version: str, *triggers: Trigger) -> ModelVersion:
    """Apply each trigger that has an edge from where the version stands; skip the others, so that
    work repeated after a kill moves nothing twice. Raises VersionNotFound."""
    current = registry.get(model, version)
    for trigger in triggers:
        if (current.stage, trigger) in TRANSITIONS:
            current = registry.transition(model, version, trigger)
    return current
