"""What small harm to the input does to the answers. Pure but for the model it calls.

The served artefact has no gradients, so the attacks estimate them by central finite differences of
the scores (black-box, as in Chen et al., "ZOO", arXiv 1708.03999; random directions as in NES,
Ilyas et al., arXiv 1804.08598, where features are many).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.models import Check
from agentloop.contracts.spec import GateSpec
from agentloop.lifecycle.features import Matrix
from agentloop.validation.candidate import Candidate, answers_of, quality_drop
from agentloop.validation.stats import Interval
from agentloop.validation.suites import measured, unmeasured

NOISE_SIGMAS = 0.1
NULL_SHARE = 0.1
EPSILON_SIGMAS = 0.1
REPEATS = 5
PGD_STEPS = 4
MAX_ATTACKED_ROWS = 256
MAX_DIRECTIONS = 96
TINY = 1e-12

Floats = npt.NDArray[np.float64]


def robustness_checks(
    candidate: Candidate, clean: npt.NDArray[Any], spec: GateSpec, rng: np.random.Generator
) -> Iterator[Check]:
    """Noise, missing values, FGSM and PGD; ``clean`` (rows,) are the undisturbed answers."""
    noisy = [candidate.answers(_with_noise(candidate, rng)) for _ in range(REPEATS)]
    yield _judged(candidate, "noise_drop", clean, noisy, spec, rng, "0.1σ Gaussian noise")
    holes = [candidate.answers(_with_nulls(candidate, rng)) for _ in range(REPEATS)]
    yield _judged(candidate, "missing_drop", clean, holes, spec, rng, "10% missing values")
    yield from _attack_checks(candidate, clean, spec, rng)


def attack(
    candidate: Candidate, rows: npt.NDArray[np.intp], steps: int, rng: np.random.Generator
) -> Matrix:
    """The matrix of ``rows``, moved within ±0.1σ a numeric feature to be answered worst.

    One step is FGSM (Goodfellow et al., arXiv 1412.6572); more are PGD (Madry et al., arXiv
    1706.06083), of which each row keeps its worst point.
    """
    numeric = len(candidate.pipeline.numeric)
    start = candidate.matrix[rows]
    truth = candidate.truth[rows]
    moved, worst = start.copy(), start.copy()
    least = _margin(candidate, start, truth)
    stride = EPSILON_SIGMAS if steps == 1 else EPSILON_SIGMAS / 2
    for _ in range(steps):
        slope = _slope(candidate, moved, truth, numeric, rng)
        block = moved[:, :numeric] - (stride * np.sign(slope)).astype(np.float32)
        low, high = start[:, :numeric] - EPSILON_SIGMAS, start[:, :numeric] + EPSILON_SIGMAS
        moved[:, :numeric] = np.clip(block, low, high)
        margin = _margin(candidate, moved, truth)
        worse = margin < least
        worst[worse], least[worse] = moved[worse], margin[worse]
    return worst


def _attack_checks(
    candidate: Candidate, clean: npt.NDArray[Any], spec: GateSpec, rng: np.random.Generator
) -> Iterator[Check]:
    limit = spec.max_adversarial_drop
    for name, steps in (("fgsm_drop", 1), ("pgd_drop", PGD_STEPS)):
        if not candidate.pipeline.numeric:
            yield unmeasured(name, "the model has no numeric feature to attack", limit)
            continue
        rows = rng.permutation(candidate.rows)[:MAX_ATTACKED_ROWS]
        answers = answers_of(
            candidate.signature, candidate.score(attack(candidate, rows, steps, rng))
        )
        drop = quality_drop(candidate.truth[rows], clean[rows], answers, rng, candidate.regression)
        passed = None if limit is None else drop.value <= limit
        against = "reported, not judged" if limit is None else f"at most {limit:g}"
        message = f"{candidate.metric} drops by {_shown(drop)} under {name[:-5].upper()} within "
        message += f"±{EPSILON_SIGMAS:g}σ, {against}"
        yield measured(name, drop, len(rows), limit, passed, message)


def _judged(
    candidate: Candidate,
    name: str,
    clean: npt.NDArray[Any],
    harmed: list[npt.NDArray[Any]],
    spec: GateSpec,
    rng: np.random.Generator,
    harm: str,
) -> Check:
    drops = [candidate.drop(clean, answers, rng) for answers in harmed]
    drop = Interval(*(float(np.mean(part)) for part in zip(*drops, strict=True)))
    limit = spec.max_noise_drop
    message = f"{candidate.metric} drops by {_shown(drop)} under {harm}, at most {limit:g}"
    return measured(name, drop, candidate.rows, limit, drop.value <= limit, message)


def _with_noise(candidate: Candidate, rng: np.random.Generator) -> Matrix:
    matrix = candidate.matrix.copy()
    numeric = len(candidate.pipeline.numeric)
    noise = rng.normal(scale=NOISE_SIGMAS, size=(candidate.rows, numeric))
    matrix[:, :numeric] += noise.astype(np.float32)
    return matrix


def _with_nulls(candidate: Candidate, rng: np.random.Generator) -> Matrix:
    columns: dict[str, npt.NDArray[Any]] = {}
    for name, values in candidate.columns.items():
        lost = rng.random(candidate.rows) < NULL_SHARE
        hole: Any = np.nan if values.dtype.kind == "f" else None
        columns[name] = np.where(lost, hole, values)
    return candidate.pipeline.transform(columns)


def _margin(candidate: Candidate, matrix: Matrix, truth: npt.NDArray[Any]) -> Floats:
    """(rows,): how far each row is from a wrong answer; an attack makes it small."""
    scores = candidate.score(matrix).astype(np.float64)
    if candidate.regression:
        return -((scores[:, 0] - truth) ** 2)
    logs = np.log(scores + TINY)
    right = np.array(candidate.signature.classes, object)[None, :] == truth[:, None]
    own = np.where(right, logs, -np.inf).max(axis=1)
    # A label that training never saw cannot be answered right: there is nothing to attack.
    own = np.where(np.isfinite(own), own, 0.0)
    return own - np.where(right, -np.inf, logs).max(axis=1)


def _slope(
    candidate: Candidate,
    matrix: Matrix,
    truth: npt.NDArray[Any],
    numeric: int,
    rng: np.random.Generator,
) -> Floats:
    """(rows, numeric): the margin's slope, by central differences along each direction."""
    directions = np.eye(numeric)
    if numeric > MAX_DIRECTIONS:
        directions = rng.choice((-1.0, 1.0), size=(MAX_DIRECTIONS, numeric))
    slope = np.zeros((len(matrix), numeric))
    for direction in directions:
        step = np.zeros((1, matrix.shape[1]), np.float32)
        step[0, :numeric] = EPSILON_SIGMAS * direction
        rise = _margin(candidate, matrix + step, truth) - _margin(candidate, matrix - step, truth)
        slope += rise[:, None] * direction[None, :]
    return slope


def _shown(interval: Interval) -> str:
    return f"{interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
