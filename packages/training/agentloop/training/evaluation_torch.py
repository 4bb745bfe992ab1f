"""Measure a fitted network on every part of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.training.dataset import Part, PreparedData
from agentloop.training.fitting_ray import TrainedModel
from agentloop.training.metrics import confusion_matrix, measure


@dataclass(frozen=True, slots=True)
class Evaluation:
    """``metrics``: bare names are of the test split, ``train_`` and ``val_`` of the others.

    ``confusion``: int64 (classes, classes) on the test split, None for regression;
    ``training_scores``: (rows, outputs) of ``data.training``.
    """

    metrics: Mapping[str, float]
    confusion: npt.NDArray[np.int64] | None
    training_scores: npt.NDArray[np.float32]


def evaluate(trained: TrainedModel, data: PreparedData) -> Evaluation:
    """All metrics of all parts; the only look at the test split."""
    from agentloop.training.torch_loop import scores_of

    def scores(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return scores_of(trained.served, features)

    def of(part: Part, prefix: str) -> dict[str, float]:
        found = measure(data.target.task, scores(part.features), part.targets)
        return {f"{prefix}{name}": value for name, value in found.items()}

    test = scores(data.test.features)
    metrics = {
        **measure(data.target.task, test, data.test.targets),
        **of(data.tune, "val_"),
        **of(data.fit, "train_"),
    }
    return Evaluation(
        metrics=metrics,
        confusion=_confusion(data, test),
        training_scores=scores(data.pipeline.transform(data.training)),
    )


def _confusion(data: PreparedData, scores: npt.NDArray[Any]) -> npt.NDArray[np.int64] | None:
    if data.target.task == "regression":
        return None
    return confusion_matrix(scores.argmax(axis=1), data.test.targets, data.target.outputs)
