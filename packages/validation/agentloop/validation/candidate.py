"""What the suites look at: a model that answers, and the rows it is judged on. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from agentloop.lifecycle.bundle import Signature
from agentloop.lifecycle.features import FeaturePipeline, Matrix
from agentloop.validation.stats import Interval, mean_interval, r2, r2_interval, wilson

Columns = Mapping[str, npt.NDArray[Any]]


class Scorer(Protocol):
    """A loaded model: feature matrix float32 (rows, width) → scores float32 (rows, outputs)."""

    def __call__(self, matrix: Matrix) -> npt.NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model with its held-out rows.

    ``columns``: raw feature columns (rows,); ``truth``: the target (rows,), text for classes,
    float64 for regression; ``matrix``: ``columns`` as features.
    """

    signature: Signature
    pipeline: FeaturePipeline
    score: Scorer
    columns: Columns
    truth: npt.NDArray[Any]
    matrix: Matrix

    @property
    def rows(self) -> int:
        return len(self.truth)

    @property
    def regression(self) -> bool:
        return self.signature.task == "regression"

    @property
    def metric(self) -> str:
        return "R²" if self.regression else "accuracy"

    def answers(self, matrix: Matrix) -> npt.NDArray[Any]:
        """Class labels as text, or float64 values, (rows,)."""
        return answers_of(self.signature, self.score(matrix))

    def quality(self, answers: npt.NDArray[Any], rng: np.random.Generator) -> Interval:
        """Accuracy with Wilson's interval, or R² with a bootstrap one."""
        if self.regression:
            return r2_interval(self.truth, answers, rng)
        return wilson(int((answers == self.truth).sum()), self.rows)

    def drop(
        self, clean: npt.NDArray[Any], harmed: npt.NDArray[Any], rng: np.random.Generator
    ) -> Interval:
        """How much quality ``harmed`` answers lose against ``clean`` ones on the same rows."""
        return quality_drop(self.truth, clean, harmed, rng, self.regression)


def answers_of(signature: Signature, scores: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """Labels object (rows,) or values float64 (rows,) from scores (rows, outputs)."""
    if signature.task == "regression":
        return scores[:, 0].astype(np.float64)
    return np.array(signature.classes, object)[scores.argmax(axis=1)]


def quality_drop(
    truth: npt.NDArray[Any],
    before: npt.NDArray[Any],
    after: npt.NDArray[Any],
    rng: np.random.Generator,
    regression: bool,
) -> Interval:
    """Quality of ``before`` less that of ``after``, paired over rows, by the bootstrap.

    For regression the drop is of R², that is of the squared error over the target's variance.
    """
    if not regression:
        return mean_interval((before == truth).astype(float) - (after == truth), rng)
    spread = float(((truth - truth.mean()) ** 2).mean()) or 1.0
    losses = ((truth - after) ** 2 - (truth - before) ** 2) / spread
    interval = mean_interval(losses, rng)
    return Interval(r2(truth, before) - r2(truth, after), interval.low, interval.high)
