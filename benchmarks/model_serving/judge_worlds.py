"""Simulated rollouts: what each request of many of them met, drawn all at once.

Shapes are (rollouts, requests) unless they say otherwise. ``slow`` comes one by one and, now and
then, as a pause of one version's replica that makes all its answers of a window slow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

WINDOW = 100  # requests in half a second, at 200 a second
BLOCK = 50
LABEL_BLOCK = 200

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Truth:
    """Probabilities at each request, (requests,), of the canary (first) and of stable (second).

    ``classes`` are (requests, 3). ``pauses`` is the chance that a version pauses in a window;
    ``share`` is what the router gives the canary, where that is not the weight.
    """

    weights: Floats
    errors: tuple[Floats, Floats]
    slow: tuple[Floats, Floats]
    classes: tuple[Floats, Floats]
    right: tuple[Floats, Floats]
    disagree: Floats
    pauses: float = 0.02
    labelled: float = 0.2
    shadowed: float = 0.1
    share: Floats | None = None


@dataclass(frozen=True)
class Traffic:
    weights: Floats
    canary: Flags
    error: Flags
    slow: Flags
    predicted: npt.NDArray[np.int8]
    labelled: Flags
    right: Flags
    shadowed: Flags
    disagree: Flags


def constant(requests: int, weight: float, **changes: float) -> Truth:
    """A version like the stable one but for ``changes``: ``error``, ``slow``, ``shift``, ``loss``,
    ``disagree`` of the canary; ``base_error``, ``base_slow`` of both; ``shadowed`` is the share of
    requests that are copied."""
    ones = np.ones(requests)
    base, base_slow = changes.get("base_error", 0.005), changes.get("base_slow", 0.01)
    stable = np.array([0.5, 0.3, 0.2])
    shift = changes.get("shift", 0.0)
    moved = stable + np.array([-shift, 0.0, shift])
    share = changes.get("share")
    return Truth(
        ones * weight,
        (ones * changes.get("error", base), ones * base),
        (ones * changes.get("slow", base_slow), ones * base_slow),
        (np.tile(moved, (requests, 1)), np.tile(stable, (requests, 1))),
        (ones * (0.9 - changes.get("loss", 0.0)), ones * 0.9),
        ones * changes.get("disagree", 0.01),
        shadowed=changes.get("shadowed", 0.0),
        share=None if share is None else ones * share,
    )


def same_version(step_requests: int, percents: tuple[float, ...]) -> Truth:
    """A version against itself through all steps and more than one day: errors between 0.1% and
    1%, slow answers, classes and accuracy with cycles of their own."""
    requests = step_requests * len(percents)
    day = np.sin(np.linspace(0, 5 * np.pi, requests))
    errors = 0.0055 + 0.0045 * day
    slow = 0.015 + 0.01 * day
    first = 0.45 + 0.35 * day
    classes = np.stack([first, 0.6 * (1 - first), 0.4 * (1 - first)], axis=1)
    right = 0.85 + 0.1 * day
    weights = np.repeat(np.array(percents) / 100.0, step_requests)
    disagree = 0.012 + 0.006 * day
    return Truth(
        weights, (errors, errors), (slow, slow), (classes, classes), (right, right), disagree
    )


def at_its_limits(step_requests: int, percents: tuple[float, ...]) -> Truth:
    """A version that is exactly as bad as LIMITS of the benchmark allow, in all things at once."""
    requests = step_requests * len(percents)
    worst = constant(
        requests,
        0.5,
        base_error=0.01,
        slow=0.05,
        base_slow=0.03,
        shift=0.1,
        loss=0.02,
        disagree=0.02,
    )
    weights = np.repeat(np.array(percents) / 100.0, step_requests)
    return replace(worst, weights=weights, pauses=0.0, shadowed=0.1)


def draw(truth: Truth, rollouts: int, rng: np.random.Generator) -> Traffic:
    shape = rollouts, len(truth.weights)
    share = truth.weights if truth.share is None else truth.share

    def flags(chance: Floats | float) -> Flags:
        return rng.random(shape, np.float32) < chance

    canary = flags(share)

    def by_version(pair: tuple[Floats, Floats]) -> Flags:
        return flags(np.where(canary, pair[0], pair[1]).astype(np.float32))

    return Traffic(
        truth.weights,
        canary,
        by_version(truth.errors),
        by_version(truth.slow) | _pauses(truth.pauses, canary, rng),
        _classes(truth.classes, canary, rng),
        flags(truth.labelled),
        by_version(truth.right),
        flags(truth.shadowed) & ~canary,
        flags(truth.disagree),
    )


def _pauses(chance: float, canary: Flags, rng: np.random.Generator) -> Flags:
    windows = canary.shape[0], -(-canary.shape[1] // WINDOW)
    paused = rng.random((2, *windows)) < chance
    spread = np.repeat(paused, WINDOW, axis=2)[:, :, : canary.shape[1]]
    result: Flags = np.where(canary, spread[0], spread[1])
    return result


def _classes(
    pair: tuple[Floats, Floats], canary: Flags, rng: np.random.Generator
) -> npt.NDArray[np.int8]:
    drawn = rng.random(canary.shape, np.float32)
    low = np.where(canary, pair[0][:, 0], pair[1][:, 0])
    high = np.where(canary, pair[0][:, :2].sum(1), pair[1][:, :2].sum(1))
    predicted: npt.NDArray[np.int8] = (drawn >= low).astype(np.int8) + (drawn >= high)
    return predicted
