"""Flush messages to the monitoring actor, from a replica's background thread."""

from __future__ import annotations

from typing import Any

from agentloop.monitoring.counts import FlushMessage
from agentloop.monitoring.observer import FlushAnswer

TIMEOUT_SECONDS = 10.0


class RayTransport:
    """Finds the actor by name, so that it may start after the replica or be replaced."""

    def __init__(self, actor: str, namespace: str) -> None:
        self._actor = actor
        self._namespace = namespace
        self._handle: Any = None

    def __call__(self, message: FlushMessage) -> FlushAnswer:
        """Raises what Ray raises where the actor is not there: the message is then kept."""
        import ray

        try:
            if self._handle is None:
                self._handle = ray.get_actor(self._actor, namespace=self._namespace)
            answer: FlushAnswer = ray.get(
                self._handle.flush.remote(message), timeout=TIMEOUT_SECONDS
            )
            return answer
        except Exception:
            self._handle = None  # it may be another actor of that name next time
            raise
