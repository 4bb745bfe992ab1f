"""Gather a canary's evidence from the edge and the replicas, probing where there is no traffic."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agentloop.contracts.spec import RolloutSpec
from agentloop.contracts.traffic import ShadowCounts, StagedModel, VersionEvidence, VersionTraffic
from agentloop.serving.judging.counts import since, slower_than, total
from agentloop.serving.judging.decision import judge
from agentloop.serving.judging.evidence import (
    Dealt,
    Evidence,
    LatencyWindow,
    Limits,
    PredictionBlock,
)
from agentloop.serving.judging.predictions import common_bins
from agentloop.serving.judging.two_sample import RateBlock
from agentloop.serving.ports import ServingPlane

MAX_BATCH = 200
# A copy's answer is compared and told some tenths of a second after the probe.
SHADOW_PROBE_SECONDS = 0.3
WINDOW_SECONDS = 0.5
BLOCK_SECONDS = 0.25
# A rollout that goes on for hours has longer blocks, not more of them.
MOST_BLOCKS = 400


@dataclass(frozen=True, slots=True)
class _Look:
    """The counters at one moment: the canary's, and those of all other versions together."""

    at: float
    canary: VersionTraffic
    stable: VersionTraffic

    @property
    def label(self) -> tuple[float, bool]:
        return self.canary.weight, self.canary.ready


@dataclass(slots=True)
class _Step:
    """A time of one weight; ``base`` are the counters at its beginning."""

    base: _Look
    windows: list[LatencyWindow] = field(default_factory=list)
    predictions: list[PredictionBlock] = field(default_factory=list)
    labels: list[RateBlock] = field(default_factory=list)


class CanaryWatch:
    """The evidence of one version, step by step. ``bodies`` are requests to probe with, ``past``
    is what an earlier watch of the same rollout gathered."""

    def __init__(
        self,
        green: StagedModel,
        plane: ServingPlane,
        bodies: Sequence[bytes],
        spec: RolloutSpec,
        clock: Callable[[], float] = time.monotonic,
        past: Sequence[Evidence] = (),
    ) -> None:
        self._green = green
        self._plane = plane
        self._bodies = bodies
        self._spec = spec
        self._limits = Limits.of(spec)
        self._clock = clock
        self._started = clock()
        self._past: tuple[Evidence, ...] = tuple(past)
        self._step: _Step | None = None
        self._current: Evidence | None = None
        self._latest: _Look | None = None
        # Windows and blocks do not rest on the weights, so they may reach across steps.
        self._marks: dict[str, _Look] = {}
        self._probes = 0
        self._probe_failures = 0
        self._probed_at = -math.inf

    @property
    def version(self) -> str:
        return self._green.version

    def begin_step(self) -> None:
        """Start counting afresh, under the weights that are in force now."""
        self._begin(self._look())

    def observe(self) -> tuple[Evidence, ...]:
        """The evidence of all steps so far; sends probes first where the spec allows it."""
        evidence = self._evidence()
        if self._spec.probe and self._probe(evidence):
            evidence = self._evidence()
        return evidence

    def metrics(self) -> dict[str, float]:
        """The rollout's figures: counts over all steps, the canary's mean time in ms."""
        steps = (*self._past, *((self._current,) if self._current else ()))
        canary = self._latest.canary if self._latest else None
        figures: dict[str, float] = {
            "canary_requests": sum(step.canary_requests for step in steps),
            "canary_errors": sum(step.canary_errors for step in steps),
            "stable_requests": sum(step.stable_requests for step in steps),
            "stable_errors": sum(step.stable_errors for step in steps),
            "shadow_compared": sum(step.shadow.compared for step in steps if step.shadow),
            "rescued": canary.rescued if canary else 0,
            "probes": self._probes,
            "probe_failures": self._probe_failures,
        }
        mean = canary.mean_ms if canary else None
        return figures if mean is None else {**figures, "canary_mean_ms": mean}

    # --- probing ---------------------------------------------------------------------------------

    def _probe(self, steps: tuple[Evidence, ...]) -> bool:
        """Send what the judge still wants of the canary; whether anything was sent."""
        wanted, share = judge(steps, self._limits).wanted, self._share(steps[-1])
        if wanted <= 0 or share <= 0:
            return False
        count = min(MAX_BATCH, math.ceil(wanted / share))
        outcome = self._plane.replay(f"/v2/models/{self._green.model}/infer", self._bodies, count)
        self._probed_at = self._clock()
        self._probes += outcome.sent
        self._probe_failures += outcome.failed
        return True

    def _share(self, step: Evidence) -> float:
        """The share of probes that reach the canary. A probe has no session, so none does where
        sessions are split."""
        if not step.ready or (self._spec.strategy == "ab" and step.weight < 1):
            return 0.0
        if step.weight > 0:
            return step.weight
        waited = self._clock() - self._probed_at
        return self._shadow_share() if waited >= SHADOW_PROBE_SECONDS else 0.0

    def _shadow_share(self) -> float:
        if self._spec.shadow_percent > 0:
            return self._spec.shadow_percent / 100
        return 1.0 if self._spec.strategy == "shadow" else 0.0

    # --- counting --------------------------------------------------------------------------------

    def _begin(self, look: _Look) -> None:
        if self._current is not None:
            self._past = (*self._past, self._current)
        self._step = _Step(look)
        self._current = None
        for kind in ("windows", "predictions", "labels"):
            self._marks.setdefault(kind, look)

    def _evidence(self) -> tuple[Evidence, ...]:
        before, look = self._latest, self._look()
        if self._step is None or before is None or self._has_changed(before, look):
            self._begin(look)
        assert self._step is not None
        self._note_window(self._step, look)
        self._note_predictions(self._step, look)
        self._note_labels(self._step, look)
        current = self._current = self._count(self._step, look)
        return (*self._past, current)

    def _has_changed(self, before: _Look, look: _Look) -> bool:
        """Whether another weight is in force, or counters began anew, so that the counts before
        and after must not be taken together."""
        fell = look.canary.requests < before.canary.requests
        fell |= look.stable.requests < before.stable.requests
        return fell or before.label != look.label

    def _count(self, step: _Step, look: _Look) -> Evidence:
        base, canary, stable = step.base, look.canary, look.stable
        return Evidence(
            canary.weight / 100.0,
            canary.requests - base.canary.requests,
            max(0, canary.errors - base.canary.errors),
            stable.requests - base.stable.requests,
            max(0, stable.errors - base.stable.errors),
            self._dealt(base, look),
            tuple(step.windows),
            tuple(step.predictions),
            tuple(step.labels),
            self._shadow(base, look),
            canary.ready,
        )

    def _dealt(self, base: _Look, look: _Look) -> Dealt | None:
        if self._spec.strategy == "ab":
            return Dealt(0, 0, 0, 0)
        if look.canary.dealt is None or look.stable.dealt is None:
            return None
        return Dealt(
            max(0, look.canary.dealt - (base.canary.dealt or 0)),
            max(0, look.canary.dealt_errors - base.canary.dealt_errors),
            max(0, look.stable.dealt - (base.stable.dealt or 0)),
            max(0, look.stable.dealt_errors - base.stable.dealt_errors),
        )

    def _shadow(self, base: _Look, look: _Look) -> ShadowCounts | None:
        counted = since(look.stable.evidence, base.stable.evidence) or look.stable.evidence
        return counted.shadows.get(self.version)

    def _note_window(self, step: _Step, look: _Look) -> None:
        budget = self._limits.latency_budget_ms
        grown = self._grown("windows", look, WINDOW_SECONDS)
        if budget is None or grown is None:
            return
        canary, stable = grown
        if canary.answers:
            slow = (slower_than(side.latency, budget) for side in grown)
            step.windows.append(
                LatencyWindow(canary.answers, next(slow), stable.answers, next(slow))
            )
            self._marks["windows"] = look

    def _note_predictions(self, step: _Step, look: _Look) -> None:
        grown = self._grown("predictions", look, BLOCK_SECONDS)
        if self._limits.max_prediction_shift is None or grown is None:
            return
        first, second = common_bins(grown[0].predictions, grown[1].predictions)
        if first and second:
            step.predictions.append(PredictionBlock(first, second))
            self._marks["predictions"] = look

    def _note_labels(self, step: _Step, look: _Look) -> None:
        grown = self._grown("labels", look, BLOCK_SECONDS)
        if grown is None:
            return
        canary, stable = grown
        if canary.labelled and stable.labelled:
            block = RateBlock(stable.labelled, stable.right, canary.labelled, canary.right)
            step.labels.append(block)
            self._marks["labels"] = look

    def _grown(
        self, kind: str, look: _Look, seconds: float
    ) -> tuple[VersionEvidence, VersionEvidence] | None:
        """What the canary's and the other replicas counted since the last block of this kind, or
        None where that is too short ago."""
        mark = self._marks[kind]
        if look.at - mark.at < max(seconds, (look.at - self._started) / MOST_BLOCKS):
            return None
        canary = since(look.canary.evidence, mark.canary.evidence)
        stable = since(look.stable.evidence, mark.stable.evidence)
        if canary is None or stable is None:  # the edge's actor began anew
            self._marks[kind] = look
            return None
        return canary, stable

    def _look(self) -> _Look:
        traffic = list(self._plane.traffic(self._green.model))
        canary = [item for item in traffic if item.version == self.version]
        others = [item for item in traffic if item.version != self.version]
        nothing = VersionTraffic(self.version, 0.0, 0, 0)
        look = _Look(self._clock(), canary[0] if canary else nothing, _together(others))
        self._latest = look
        return look


def _together(others: Sequence[VersionTraffic]) -> VersionTraffic:
    dealt = [item.dealt for item in others if item.dealt is not None]
    return VersionTraffic(
        "",
        sum(item.weight for item in others),
        sum(item.requests for item in others),
        sum(item.errors for item in others),
        dealt=sum(dealt) if len(dealt) == len(others) else None,
        dealt_errors=sum(item.dealt_errors for item in others),
        evidence=total(item.evidence for item in others),
    )
