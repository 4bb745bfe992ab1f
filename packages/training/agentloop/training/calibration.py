"""How far probabilities can be taken at their word, and the temperature that makes them so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.training.fits import Target
from agentloop.training.head import Head, softmax
from agentloop.training.metrics import log_loss

BINS = 15
LOWEST, HIGHEST = 0.05, 20.0  # of a temperature
QUANTILES = (0.05, 0.5, 0.95)
Raw = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """``count`` rows whose mean ``confidence`` was this, and the share that was right."""

    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """On rows that no member was fitted on. ``ece_*`` are the expected calibration errors before
    and after the temperature; ``bins`` hold equally many rows each, after it. For regression only
    ``residuals``: quantiles of target less prediction, in the target's unit, by probability.
    """

    rows: int
    temperature: float = 1.0
    ece_before: float | None = None
    ece_after: float | None = None
    bins: tuple[ReliabilityBin, ...] = ()
    residuals: tuple[tuple[float, float], ...] = ()


def calibrate(target: Target, raw: Raw, targets: npt.NDArray[Any]) -> tuple[Head, Calibration]:
    """The head whose temperature fits raw scores (rows, outputs) of unseen rows best, and how well.

    ``targets``: int64 (rows,) class positions, or float64 (rows,) values.
    """
    if target.task == "regression":
        head = Head(target.task, target.mean, target.scale)
        errors = targets - head.apply(raw)[:, 0].astype(np.float64)
        found = zip(QUANTILES, np.quantile(errors, QUANTILES).tolist(), strict=True)
        return head, Calibration(len(targets), residuals=tuple(found))
    temperature = best_temperature(raw, targets)
    before, after = softmax(raw), softmax(raw / temperature)
    bins = reliability(after, targets)
    calibration = Calibration(
        rows=len(targets),
        temperature=temperature,
        ece_before=expected_error(reliability(before, targets)),
        ece_after=expected_error(bins),
        bins=bins,
    )
    return Head(target.task, temperature=temperature), calibration


def best_temperature(raw: Raw, labels: npt.NDArray[np.int64]) -> float:
    """Temperature scaling (Guo et al. 2017, arXiv 1706.04599): least log loss, which is convex in
    1 / temperature. Found to a thousandth."""
    from scipy.optimize import minimize_scalar

    logits = raw.astype(np.float64)

    def loss(log_temperature: float) -> float:
        return log_loss(softmax(logits / np.exp(log_temperature)), labels)

    bounds = (float(np.log(LOWEST)), float(np.log(HIGHEST)))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-3})
    # Rounded, so that the last digits of a sum do not make another model.
    return round(float(np.exp(found.x)), 3)


def reliability(
    probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]
) -> tuple[ReliabilityBin, ...]:
    """Up to ``BINS`` bins of equally many rows, by the confidence in the answer."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    order = np.argsort(confidence, kind="stable")
    return tuple(
        ReliabilityBin(float(confidence[rows].mean()), float(right[rows].mean()), len(rows))
        for rows in np.array_split(order, min(BINS, len(order)))
    )


def expected_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """Expected calibration error: the mean gap of confidence and accuracy, weighted by rows."""
    total = sum(b.count for b in bins)
    return sum(abs(b.confidence - b.accuracy) * b.count for b in bins) / total
