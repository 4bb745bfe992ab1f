"""What a prediction is counted as: its class, or the bin of its value. Pure.

The values of a regression are binned by the quantiles of the version's own training data, and by
those of the version that was stable when it started, so that the two can be compared.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from agentloop.lifecycle.bundle import Signature
from agentloop.serving.judging.counts import MAX_NAME, MAX_NAMES

Predictions = Sequence[Any] | npt.NDArray[Any]

# Two values agree that are apart by at most this part of the range of the middle nine tenths.
AGREEING_PART = 0.02
_OTHER = ":*"


class PredictionBins:
    """``classes`` of a classification; of a regression, the ``edges`` of one or more binnings."""

    def __init__(self, classes: Sequence[str], edges: Sequence[Sequence[float]] = ()) -> None:
        self._classes = {label: (f":{label[:MAX_NAME]}",) for label in classes[: MAX_NAMES - 1]}
        self._binnings = [(_digest(cuts), list(cuts)) for cuts in edges]
        spread = max((cuts[-1] - cuts[0] for cuts in edges if len(cuts) > 1), default=0.0)
        self._tolerance = AGREEING_PART * spread
        self._is_regression = not classes

    @classmethod
    def of(
        cls, signature: Signature, own: Sequence[float], stable: Sequence[float] = ()
    ) -> PredictionBins:
        """``own`` and ``stable`` are the edges of the prediction in the two reference profiles."""
        if signature.task != "regression":
            return cls(signature.classes)
        edges = [list(own)]
        if stable and list(stable) != list(own):
            edges.append(list(stable))
        return cls((), edges)

    def names(self, label: Any) -> tuple[str, ...]:
        """The counters of one prediction: one, or one a binning."""
        if not self._is_regression:
            return self._classes.get(label, (_OTHER,))
        value = float(label)
        return tuple(f"{digest}:{bisect_right(cuts, value)}" for digest, cuts in self._binnings)

    def differing(self, mine: Predictions, other: Predictions) -> float:
        """The share of rows whose predictions differ; 1 where the numbers of rows do."""
        if len(mine) != len(other) or not len(mine):
            return 1.0
        if not self._is_regression:
            return sum(a != b for a, b in zip(mine, other, strict=True)) / len(mine)
        apart = sum(not self._agree(a, b) for a, b in zip(mine, other, strict=True))
        return apart / len(mine)

    def _agree(self, mine: Any, other: Any) -> bool:
        if type(other) not in (int, float):
            return False
        return abs(float(mine) - other) <= self._tolerance


def _digest(cuts: Sequence[float]) -> str:
    return hashlib.sha256(repr([float(cut) for cut in cuts]).encode()).hexdigest()[:8]
