"""One version's share of the traffic: given under a lease, watched until the judge can decide."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agentloop.contracts.errors import RolloutOvertaken
from agentloop.contracts.spec import RolloutSpec
from agentloop.contracts.traffic import StagedModel, TrafficSplit
from agentloop.serving.judging.decision import Evidence, Judgement, Limits, judge
from agentloop.serving.rollout.canary_watch import CanaryWatch
from agentloop.serving.rollout.lease_keeper import LEASE_SECONDS
from agentloop.serving.rollout.orders import Wish
from agentloop.serving.rollout.split_writer import SplitWriter

WATCH_SECONDS = 0.05


class Canary:
    """Moves and watches ``green``. While somebody pauses, weights stay and the judge goes on.

    ``wish`` reads what is asked of the rollout; ``moved`` notes a sign of life and raises once the
    lease is lost; ``judged`` hears each judgement.
    """

    def __init__(
        self,
        green: StagedModel,
        writer: SplitWriter,
        watch: CanaryWatch,
        settings: RolloutSpec,
        clock: Callable[[], float],
        wish: Callable[[], Wish],
        moved: Callable[[], None],
        judged: Callable[[Judgement], None],
    ) -> None:
        self.green = green
        self._writer = writer
        self._watch = watch
        self.settings = settings
        self._clock = clock
        self._wish = wish
        self._moved = moved
        self._judged = judged

    async def give(self, percent: float, by_session: bool = False) -> TrafficSplit:
        """A share of the traffic, counted from now on. One that is in force, given by an earlier
        controller, is not given again. Raises StaleEpoch."""
        version, split = self.green.version, self._writer.current
        leased = split is not None and split.lease_until is not None
        if split is None or not leased or _share(split, version) != (percent, by_session):
            until = self._clock() + LEASE_SECONDS
            give = self._writer.canary
            split = await asyncio.to_thread(give, version, percent, until, by_session)
        await asyncio.to_thread(self._watch.begin_step)
        return split

    async def shadow(self, percent: float) -> TrafficSplit:
        """A copy of a share of the stable version's requests, as ``give``. Raises StaleEpoch."""
        version, split = self.green.version, self._writer.current
        if split is None or (split.shadow, split.shadow_percent) != (version, percent):
            until = self._clock() + LEASE_SECONDS
            split = await asyncio.to_thread(self._writer.shadow, version, percent, until)
        await asyncio.to_thread(self._watch.begin_step)
        return split

    async def watch(self, min_seconds: float, max_seconds: float) -> tuple[Evidence, ...]:
        """The evidence of all steps, once the judge decides on it or ``max_seconds`` have passed;
        paused seconds do not count. Raises StaleEpoch, RolloutOvertaken."""
        last, waited = self._clock(), 0.0
        while True:
            evidence = await asyncio.to_thread(self._watch.observe)
            judgement = self.judge(evidence)
            await asyncio.to_thread(self._judged, judgement)
            paused = await asyncio.to_thread(self.is_paused)
            now = self._clock()
            waited += 0.0 if paused else now - last
            last = now
            enough = judgement.verdict == "promote" and waited >= min_seconds
            if judgement.verdict == "rollback":
                return evidence
            if not paused and (enough or waited >= max_seconds):
                return evidence
            await asyncio.sleep(WATCH_SECONDS)

    def is_paused(self) -> bool:
        """Whether the rollout is to stay where it is. Raises StaleEpoch, RolloutOvertaken."""
        self._moved()
        wish = self._wish()
        if wish == "abort":
            raise RolloutOvertaken(self.green.model, self.green.version, "it was aborted")
        return wish == "pause"

    def judge(self, evidence: tuple[Evidence, ...]) -> Judgement:
        """The judge's word on the evidence of all steps so far."""
        return judge(evidence, Limits.of(self.settings))

    def metrics(self) -> dict[str, float]:
        return self._watch.metrics()


def _share(split: TrafficSplit, version: str) -> tuple[float, bool]:
    return split.weights.get(version, 0.0), split.by_session
