"""Write one model's splits in order, and have the edge follow each."""

from __future__ import annotations

from dataclasses import replace
from threading import RLock

from agentloop.contracts.errors import ModelNotServed, StaleEpoch
from agentloop.contracts.traffic import TrafficSplit
from agentloop.serving.control.store import ControlStore
from agentloop.serving.ports import ServingPlane


class SplitWriter:
    """Remembers the epoch it wrote last: if somebody else writes in between, the next write raises
    StaleEpoch, and this controller has lost its say. Threads may share one."""

    def __init__(self, store: ControlStore, plane: ServingPlane, model: str) -> None:
        self._store = store
        self._plane = plane
        self._model = model
        self._current = store.split(model)
        self._lock = RLock()

    @property
    def current(self) -> TrafficSplit | None:
        """The split as this writer last saw or wrote it."""
        return self._current

    @property
    def epoch(self) -> int:
        """That split's epoch; 0 before the first."""
        return self._current.epoch if self._current else 0

    @property
    def stable(self) -> str:
        """Raises ModelNotServed before the first version is settled."""
        if self._current is None:
            raise ModelNotServed(self._model)
        return self._current.stable

    def take_over(self) -> TrafficSplit | None:
        """Read what is in force and make it this writer's: whoever wrote it is behind from now on.
        None before the first split."""
        with self._lock:
            while (found := self._store.split(self._model)) is not None:
                try:
                    self._current = replace(found, epoch=found.epoch + 1)
                    self._store.put_split(self._current)
                    return self._current
                except StaleEpoch:
                    continue  # written in between: what is in force is another split now
            self._current = None
            return None

    def canary(
        self, version: str, percent: float, lease_until: float, by_session: bool = False
    ) -> TrafficSplit:
        """``percent`` to ``version``, the rest to stable, until the lease ends."""
        weights = {self.stable: 100.0 - percent, version: percent}
        return self._put(
            TrafficSplit(self._model, weights, self.stable, 0, lease_until, by_session=by_session)
        )

    def shadow(self, version: str, percent: float, lease_until: float) -> TrafficSplit:
        """A copy of ``percent`` of the requests to ``version``, every answer from stable."""
        weights = {self.stable: 100.0, version: 0.0}
        return self._put(
            TrafficSplit(
                self._model,
                weights,
                self.stable,
                0,
                lease_until,
                shadow=version,
                shadow_percent=percent,
            )
        )

    def settle(self, version: str) -> TrafficSplit:
        """Everything to ``version``, which becomes the stable one."""
        known = self._current.weights if self._current else {}
        weights = {**dict.fromkeys(known, 0.0), version: 100.0}
        return self._put(TrafficSplit(self._model, weights, version, 0))

    def renew(self, lease_until: float) -> None:
        """Put the end of the lease off, where there is one. The weights stay, so that the edge
        has nothing to follow."""
        with self._lock:
            if self._current is not None and self._current.lease_until is not None:
                renewed = replace(
                    self._current, epoch=self._current.epoch + 1, lease_until=lease_until
                )
                self._store.put_split(renewed)
                self._current = renewed

    def _put(self, split: TrafficSplit) -> TrafficSplit:
        with self._lock:
            split = replace(split, epoch=self.epoch + 1)
            self._store.put_split(split)
            self._current = split
        self._plane.reconcile()
        return split
