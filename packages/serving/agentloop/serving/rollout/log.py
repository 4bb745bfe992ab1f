"""A rollout's log in the control store: intent, effect, done, with the epoch in force."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from agentloop.contracts.codec import from_dict, to_dict
from agentloop.serving.control.store import ControlStore, Progress, Rollout, RolloutEvent
from agentloop.serving.judging.decision import Evidence, Judgement

_log = logging.getLogger(__name__)

Kind = Literal["intent", "effect", "done"]
Listener = Callable[[RolloutEvent], None]

# How often the judge's numbers are written while they change in nothing but size.
PROGRESS_SECONDS = 0.25
_LARGEST = 1e12


class RolloutLog:
    """Writes and reads the log of one rollout. ``listen`` hears each event after it is stored."""

    def __init__(
        self,
        store: ControlStore,
        rollout: Rollout,
        clock: Callable[[], float],
        listen: Listener | None = None,
    ) -> None:
        self._store = store
        self._rollout = rollout
        self._clock = clock
        self._listen = listen
        self._written: Progress | None = None
        self._stage, self._since = "", 0.0

    def record(self, kind: Kind, action: str, epoch: int = 0, **detail: object) -> None:
        """One line."""
        rollout = self._rollout
        event = RolloutEvent(
            self._clock(), rollout.model, rollout.deployment_id, kind, action, detail, epoch
        )
        self._store.record(event)
        if self._listen is None:
            return
        try:
            self._listen(event)
        except Exception as error:  # who listens must not decide about traffic
            _log.warning("a rollout's listener failed: %s", error)

    def begin(self, stage: str, epoch: int) -> None:
        """The stage is about to take effect."""
        self.record("intent", stage, epoch)
        self._stage, self._since = stage, self._clock()
        self._put_progress(None)

    def judged(self, judgement: Judgement) -> None:
        """What the judge says meanwhile; for ``rollout status``, not for the log."""
        now, last = self._clock(), self._written
        news = last is None or judgement.verdict != last.verdict
        if news or (last is not None and now - last.at >= PROGRESS_SECONDS):
            self._put_progress(judgement)

    def decided(
        self, stage: str, epoch: int, judgement: Judgement, evidence: tuple[Evidence, ...]
    ) -> None:
        """The stage is done, by this judgement on the evidence of all stages; the last one's is
        kept, so that another controller can go on with it."""
        self._put_progress(judgement)
        self.record(
            "done",
            stage,
            epoch,
            **told(judgement),
            evidence=to_dict(evidence[-1]) if evidence else {},
            seconds=round(self._clock() - self._since, 3),
        )

    def stages_done(self) -> frozenset[str]:
        """The names of stages that need not be done again."""
        return frozenset(
            event.action
            for event in self._mine()
            if (event.kind, event.action) == ("effect", "probe")
            or (event.kind == "done" and event.detail.get("verdict", "promote") == "promote")
        )

    def evidence(self) -> tuple[Evidence, ...]:
        """The evidence of the stages that were decided by an earlier controller."""
        return tuple(
            from_dict(Evidence, dict(event.detail["evidence"]))
            for event in self._mine()
            if event.kind == "done" and event.detail.get("evidence")
        )

    def says(self, kind: Kind, action: str) -> bool:
        """Whether a line like this is in the log."""
        return any((event.kind, event.action) == (kind, action) for event in self._mine())

    def _mine(self) -> list[RolloutEvent]:
        wanted = self._rollout.deployment_id
        return [e for e in self._store.events(self._rollout.model) if e.deployment_id == wanted]

    def _put_progress(self, judgement: Judgement | None) -> None:
        rollout = self._rollout
        self._written = Progress(
            rollout.model,
            rollout.deployment_id,
            self._clock(),
            self._stage,
            self._since,
            judgement.verdict if judgement else "",
            judgement.reasons if judgement else (),
            finite(judgement.numbers) if judgement else {},
        )
        self._store.put_progress(self._written)


def told(judgement: Judgement) -> dict[str, Any]:
    """A judgement as an event's detail."""
    return {
        "verdict": judgement.verdict,
        "reasons": list(judgement.reasons),
        "numbers": finite(judgement.numbers),
    }


def finite(numbers: Mapping[str, float]) -> dict[str, float]:
    """The numbers that JSON can say: without NaN, the infinite ones cut off."""
    return {
        name: max(-_LARGEST, min(_LARGEST, float(value)))
        for name, value in numbers.items()
        if not math.isnan(value)
    }
