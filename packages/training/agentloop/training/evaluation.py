"""Measure a trained model on every part of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.training.calibration import Calibration
from agentloop.training.config import TrainingConfig
from agentloop.training.dataset import PreparedData
from agentloop.training.importance import Importances, permutation_importances
from agentloop.training.metrics import confusion_matrix, measure
from agentloop.training.requests import fit_request
from agentloop.training.trained import TrainedModel, Weighted, load_members, raw_of


@dataclass(frozen=True, slots=True)
class Evaluation:
    """``metrics``: bare names are of the test split, ``train_`` and ``val_`` of the others
    (``val_`` by models that had not seen the rows).

    ``members`` are ready to answer. ``confusion``: int64 (classes, classes) on the test split, None
    for regression; ``test_scores`` and ``training_scores``: float32 (rows, outputs) of the parts.
    """

    metrics: Mapping[str, float]
    members: Weighted
    confusion: npt.NDArray[np.int64] | None
    test_scores: npt.NDArray[np.float32]
    training_scores: npt.NDArray[np.float32]
    importances: Importances
    calibration: Calibration | None


def evaluate(config: TrainingConfig, trained: TrainedModel, data: PreparedData) -> Evaluation:
    """All metrics of all parts; the only look at the test split."""
    request = fit_request(config, data, trained.members[0].family, {})
    members = load_members(trained.members, request)

    def scores(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return trained.head.apply(raw_of(members, features))

    test, training = scores(data.test.features), scores(data.train.features)
    fold, task = data.folds[0], data.target.task
    metrics = measure(task, test, data.test.targets)
    if trained.refit:
        metrics |= _named("train_", measure(task, training, data.train.targets))
        metrics |= _named("val_", trained.validation)
    else:
        for prefix, rows in (("train_", fold.fit), ("val_", fold.tune)):
            found = measure(task, training[rows], data.train.targets[rows])
            metrics |= _named(prefix, found)
    return Evaluation(
        metrics=metrics,
        members=members,
        confusion=_confusion(data, test),
        test_scores=test,
        training_scores=training,
        importances=permutation_importances(
            scores,
            data.train.rows(fold.tune),
            data.pipeline,
            data.target,
            config.spec.seed,
            members=len(members),
        ),
        calibration=trained.calibration,
    )


def _named(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}{name}": value for name, value in metrics.items()}


def _confusion(data: PreparedData, scores: npt.NDArray[Any]) -> npt.NDArray[np.int64] | None:
    if data.target.task == "regression":
        return None
    return confusion_matrix(scores.argmax(axis=1), data.test.targets, data.target.outputs)
