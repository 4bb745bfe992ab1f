"""Whole rollouts by the judge itself: how long a version takes, and how often it is held up.

Live traffic is 200 requests a second, looked at twenty times a second; where probes are allowed,
each look adds those that the judge still wants. A step lasts half a second at least, and is given
up after ``MAX_SECONDS``. One at a time, so this is the judge's own code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agentloop.contracts import RolloutSpec
from agentloop.serving.judging.decision import Evidence, Limits, judge

LOOK_SECONDS = 0.05
LIVE = 10
MOST_PROBES = 200
STEP_SECONDS = 0.5
MAX_SECONDS = 30.0


@dataclass(frozen=True)
class Ending:
    """``outcome`` is promoted, held or rolled back; ``seconds`` counts looks, not computing."""

    outcome: str
    seconds: float
    live: int
    probes: int


def roll_out(error: float, base_error: float, probe: bool, rng: np.random.Generator) -> Ending:
    spec = RolloutSpec(probe=probe)
    limits = Limits.of(spec)
    past: list[Evidence] = []
    looks, live, probes = 0, 0, 0
    for percent in spec.percents:
        weight, counts, waited = percent / 100, np.zeros(4, int), 0
        while True:
            steps = [*past, Evidence(weight, *counts.tolist())]
            judgement = judge(steps, limits)
            if judgement.verdict == "promote" and waited * LOOK_SECONDS >= STEP_SECONDS:
                break
            if judgement.verdict == "rollback":
                return Ending("rolled back", looks * LOOK_SECONDS, live, probes)
            if waited * LOOK_SECONDS >= MAX_SECONDS:
                return Ending("held", looks * LOOK_SECONDS, live, probes)
            extra = min(MOST_PROBES, round(judgement.wanted / weight)) if probe else 0
            counts += _requests(LIVE + extra, weight, error, base_error, rng)
            looks, waited, live, probes = looks + 1, waited + 1, live + LIVE, probes + extra
        past.append(steps[-1])
    return Ending("promoted", looks * LOOK_SECONDS, live, probes)


def _requests(
    number: int, weight: float, error: float, base_error: float, rng: np.random.Generator
) -> np.ndarray:
    canary = rng.binomial(number, weight)
    stable = number - canary
    return np.array([canary, rng.binomial(canary, error), stable, rng.binomial(stable, base_error)])
