"""From scores to answers, the same for every way to compute the scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.lifecycle.bundle import ModelBundle

# 64 MB of float32: a small request of many short texts must not become gigabytes of features.
MAX_CELLS = 1 << 24

Columns = Mapping[str, npt.NDArray[Any]]


class Scorer:
    """``scores`` gives float32 (rows, outputs) of raw columns (rows,); long requests are given to
    it in parts."""

    def __init__(
        self, bundle: ModelBundle, scores: Callable[[Columns], npt.NDArray[np.float32]]
    ) -> None:
        self._scores = scores
        self._rows_at_once = max(1, MAX_CELLS // max(1, bundle.features.width))
        self._classes = np.array(bundle.signature.classes, dtype=object)
        self._regression = bundle.signature.task == "regression"

    def predict(self, columns: Columns) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
        """Labels object (rows,) and probabilities float32 (rows, classes); for regression values
        float64 (rows,) and float32 (rows, 1)."""
        rows, step = len(next(iter(columns.values()))), self._rows_at_once
        if rows <= step:
            scores = self._scores(columns)
        else:
            parts = [
                self._scores({name: values[at : at + step] for name, values in columns.items()})
                for at in range(0, rows, step)
            ]
            scores = np.concatenate(parts)
        if self._regression:
            return scores[:, 0].astype(np.float64), scores
        return self._classes[scores.argmax(axis=1)], scores
