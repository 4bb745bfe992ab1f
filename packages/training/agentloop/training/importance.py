"""Which columns a model's answers rest on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.lifecycle.features import FeaturePipeline
from agentloop.training.fits import Part, Target
from agentloop.training.metrics import log_loss

MAX_ROWS, MIN_ROWS, REPEATS = 2000, 100, 3
MAX_COLUMNS = 200
# Rows scored by a member, over all columns and repeats: counted, not timed, so that a slow machine
# finds the same importances. 500 boosted trees of three classes score 13,000 rows a second.
MAX_SCORED = 130_000
Score = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Importance:
    """How much the loss grows (nats, or squared standard deviations) where a column's values are
    shuffled: mean and standard deviation over the repeats."""

    column: str
    mean: float
    std: float


@dataclass(frozen=True, slots=True)
class Importances:
    """Of every raw column, the heaviest first; empty, with a ``note``, where they were not asked
    for."""

    columns: tuple[Importance, ...]
    rows: int
    note: str = ""


def permutation_importances(
    score: Score,
    part: Part,
    pipeline: FeaturePipeline,
    target: Target,
    seed: int,
    members: int = 1,
) -> Importances:
    """Permutation importance (Breiman 2001, sec. 10) on up to ``MAX_ROWS`` rows of ``part``, fewer
    (down to ``MIN_ROWS``) where columns and ``members`` make each of them dear.

    All features of one raw column are shuffled together. ``score``, of so many ``members``, gives
    probabilities, or values.
    """
    spans = column_spans(pipeline)
    if len(spans) > MAX_COLUMNS:
        note = f"{len(spans)} columns, such as pixels, say little one by one"
        return Importances((), 0, note)
    rng = np.random.default_rng(seed)
    most = rows_within(len(spans), members)
    rows = np.sort(rng.permutation(len(part.targets))[:most])
    sample = part.rows(rows)
    base = _loss(score(sample.features), sample.targets, target)
    found = [
        _importance(score, sample, target, base, name, span, rng) for name, span in spans.items()
    ]
    found.sort(key=lambda one: (-one.mean, one.column))
    return Importances(tuple(found), len(rows))


def rows_within(columns: int, members: int) -> int:
    """How many rows ``MAX_SCORED`` allow, from ``MIN_ROWS`` to ``MAX_ROWS``."""
    a_row = max(1, columns * members * REPEATS)
    return max(MIN_ROWS, min(MAX_ROWS, MAX_SCORED // a_row))


def column_spans(pipeline: FeaturePipeline) -> dict[str, slice]:
    """Which features of the matrix stand for each raw column."""
    widths = [(f.name, 1) for f in pipeline.numeric]
    widths += [(f.name, len(f.categories)) for f in pipeline.categorical]
    widths += [(f.name, f.width) for f in getattr(pipeline, "text", ())]
    spans, start = {}, 0
    for name, width in widths:
        spans[name] = slice(start, start + width)
        start += width
    return spans


def _importance(
    score: Score,
    sample: Part,
    target: Target,
    base: float,
    name: str,
    span: slice,
    rng: np.random.Generator,
) -> Importance:
    losses = []
    for _ in range(REPEATS):
        shuffled = sample.features.copy()
        shuffled[:, span] = shuffled[rng.permutation(len(shuffled)), span]
        losses.append(_loss(score(shuffled), sample.targets, target) - base)
    # Six digits: the last ones of a sum are not worth another digest.
    return Importance(name, round(float(np.mean(losses)), 6), round(float(np.std(losses)), 6))


def _loss(scores: npt.NDArray[np.float32], targets: npt.NDArray[Any], target: Target) -> float:
    if target.task == "regression":
        return float((((scores[:, 0] - targets) / target.scale) ** 2).mean())
    return log_loss(scores, targets)
