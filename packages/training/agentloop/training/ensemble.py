"""Which models answer better together than the best of them alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.training.fits import Target
from agentloop.training.head import softmax

Scores = npt.NDArray[np.floating]
ROUNDS = 50
MAX_ROWS = 50_000
# Of the best model's loss: what a further pick has to gain to be no luck.
LEAST_GAIN = 1e-4
TINY = 1e-12


def select_members(
    scores: Sequence[Scores], targets: npt.NDArray[Any], target: Target, members: int
) -> tuple[tuple[int, float], ...]:
    """Up to ``members`` positions in ``scores`` with weights that sum to 1, the heaviest first.

    Greedy selection with replacement (Caruana et al. 2004, ICML, sec. 2): each round adds the model
    that lowers the loss of the mean raw score most. ``scores``: raw (rows, outputs) of rows that
    none was fitted on; ``targets``: (rows,) class positions or values. At most ``MAX_ROWS`` rows,
    evenly spread, are looked at. The loss is in nats, or squared standard deviations.
    """
    step = max(1, -(-len(targets) // MAX_ROWS))
    stack = [np.asarray(one[::step], np.float64) for one in scores]
    truth = _truth(targets[::step], target)
    alone = [_loss(one, truth, target) for one in stack]
    best = int(np.argmin(alone))
    picks, total, loss = [best], stack[best].copy(), alone[best]
    while len(picks) < ROUNDS:
        allowed = range(len(stack)) if len(set(picks)) < members else sorted(set(picks))
        tried = [(_loss((total + stack[i]) / (len(picks) + 1), truth, target), i) for i in allowed]
        lowest, chosen = min(tried)
        if lowest > loss - LEAST_GAIN * alone[best]:
            break
        picks.append(chosen)
        total += stack[chosen]
        loss = lowest
    counts = {index: picks.count(index) for index in dict.fromkeys(picks)}
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple((index, count / len(picks)) for index, count in ranked)


def _truth(targets: npt.NDArray[Any], target: Target) -> npt.NDArray[Any]:
    if target.task == "regression":
        return (targets.astype(np.float64) - target.mean) / target.scale
    return targets.astype(np.int64)


def _loss(raw: npt.NDArray[np.float64], truth: npt.NDArray[Any], target: Target) -> float:
    if target.task == "regression":
        return float(((raw[:, 0] - truth) ** 2).mean())
    chosen = softmax(raw)[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(chosen, TINY)).mean())
