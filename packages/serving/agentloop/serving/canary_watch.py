"""Gather a canary's evidence from the edge's counters, probing where there is no traffic."""

from __future__ import annotations

import math
from collections.abc import Sequence

from agentloop.contracts.spec import RolloutSpec
from agentloop.contracts.traffic import StagedModel, VersionTraffic
from agentloop.serving.canary_judge import Evidence
from agentloop.serving.ports import ServingPlane

MAX_BATCH = 200
# With an error seen, more answers are needed to tell bad luck from a bad version.
DOUBT_BATCH = 20


class CanaryWatch:
    """The evidence of one version, step by step. ``bodies`` are requests to probe with."""

    def __init__(
        self, green: StagedModel, plane: ServingPlane, bodies: Sequence[bytes], spec: RolloutSpec
    ) -> None:
        self._green = green
        self._plane = plane
        self._bodies = bodies
        self._spec = spec
        self._past: tuple[Evidence, ...] = ()
        self._base: dict[str, VersionTraffic] = {}
        self._current: Evidence | None = None
        self._rescued = 0
        self._probes = 0
        self._probe_failures = 0
        self._mean_ms: float | None = None

    @property
    def version(self) -> str:
        return self._green.version

    def begin_step(self) -> None:
        """Start counting afresh, under the weights that are in force now."""
        if self._current is not None:
            self._past = (*self._past, self._current)
        self._base = self._read()
        self._current = None

    def observe(self) -> tuple[Evidence, ...]:
        """The evidence of all steps so far; sends probes first where the spec allows it."""
        if self._spec.probe:
            self._probe(self._evidence())
        current = self._current = self._evidence()
        return (*self._past, current)

    def metrics(self) -> dict[str, float]:
        """The rollout's figures: counts over all steps, the canary's mean time in ms."""
        steps = (*self._past, *((self._current,) if self._current else ()))
        figures: dict[str, float] = {
            "canary_requests": sum(step.canary_requests for step in steps),
            "canary_errors": sum(step.canary_errors for step in steps),
            "stable_requests": sum(step.stable_requests for step in steps),
            "stable_errors": sum(step.stable_errors for step in steps),
            "rescued": self._rescued,
            "probes": self._probes,
            "probe_failures": self._probe_failures,
        }
        return figures if self._mean_ms is None else {**figures, "canary_mean_ms": self._mean_ms}

    def _probe(self, evidence: Evidence) -> None:
        missing = self._spec.min_requests - evidence.canary_requests
        if missing <= 0 and evidence.canary_errors:
            missing = DOUBT_BATCH
        if missing <= 0 or evidence.weight <= 0:
            return
        count = min(MAX_BATCH, math.ceil(missing / evidence.weight))
        path = f"/v2/models/{self._green.model}/infer"
        outcome = self._plane.replay(path, self._bodies, count)
        self._probes += outcome.sent
        self._probe_failures += outcome.failed

    def _evidence(self) -> Evidence:
        now = self._read()
        canary = now.get(self.version)
        if canary is None:
            return Evidence(0.0, 0, 0, 0, 0)
        base = self._base.get(self.version, VersionTraffic(self.version, 0.0, 0, 0))
        others = [traffic for version, traffic in now.items() if version != self.version]
        before = [traffic for version, traffic in self._base.items() if version != self.version]
        self._rescued = canary.rescued
        self._mean_ms = canary.mean_ms
        return Evidence(
            canary.weight / 100.0,
            canary.requests - base.requests,
            canary.errors - base.errors,
            sum(t.requests for t in others) - sum(t.requests for t in before),
            sum(t.errors for t in others) - sum(t.errors for t in before),
        )

    def _read(self) -> dict[str, VersionTraffic]:
        return {traffic.version: traffic for traffic in self._plane.traffic(self._green.model)}
