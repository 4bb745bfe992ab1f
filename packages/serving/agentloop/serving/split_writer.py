"""Write one model's splits in order, and have the edge follow each."""

from __future__ import annotations

from agentloop.contracts.errors import ModelNotServed
from agentloop.contracts.traffic import TrafficSplit
from agentloop.serving.control_store import ControlStore
from agentloop.serving.ports import ServingPlane


class SplitWriter:
    """Remembers the epoch it wrote last: if somebody else writes in between, the next write raises
    StaleEpoch, and this controller has lost its say."""

    def __init__(self, store: ControlStore, plane: ServingPlane, model: str) -> None:
        self._store = store
        self._plane = plane
        self._model = model
        self._current = store.split(model)

    @property
    def current(self) -> TrafficSplit | None:
        """The split as this writer last saw or wrote it."""
        return self._current

    @property
    def stable(self) -> str:
        """Raises ModelNotServed before the first version is settled."""
        if self._current is None:
            raise ModelNotServed(self._model)
        return self._current.stable

    def canary(self, version: str, percent: float, lease_until: float) -> TrafficSplit:
        """``percent`` to ``version``, the rest to stable, until the lease ends."""
        weights = {self.stable: 100.0 - percent, version: percent}
        return self._put(weights, self.stable, lease_until)

    def settle(self, version: str) -> TrafficSplit:
        """Everything to ``version``, which becomes the stable one."""
        known = self._current.weights if self._current else {}
        return self._put({**dict.fromkeys(known, 0.0), version: 100.0}, version, None)

    def _put(
        self, weights: dict[str, float], stable: str, lease_until: float | None
    ) -> TrafficSplit:
        epoch = self._current.epoch + 1 if self._current else 1
        split = TrafficSplit(self._model, weights, stable, epoch, lease_until)
        self._store.put_split(split)
        self._current = split
        self._plane.reconcile()
        return split
