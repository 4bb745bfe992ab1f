"""Gradient boosting behind the family port: scikit-learn's histogram trees (LightGBM's algorithm,
Ke et al. 2017), kept as plain arrays so that nothing is ever unpickled."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from agentloop.contracts.errors import TrainingDiverged, TrainingError
from agentloop.training.fits import Epoch, FitRequest, Fitted, Part, Predictor, State, Surroundings
from agentloop.training.onnx_trees import Trees, TreesInOnnx


class Boosting:
    """The family ``gradient-boosting``."""

    def check(self, request: FitRequest) -> None:
        if request.inputs < 1:
            raise TrainingError("there is no column to split by")

    def fit(
        self, request: FitRequest, train: Part, tune: Part | None, around: Surroundings
    ) -> Fitted:
        started = time.monotonic()
        model = _estimator(request, tune is not None)
        truth = _truth(request, train)
        given: dict[str, Any] = {}
        if tune is not None:
            given = {"X_val": tune.features, "y_val": _truth(request, tune)}
        threads = around.threads or os.cpu_count() or 1
        with threadpool_limits(threads, user_api="openmp"):
            try:
                model.fit(train.features, truth, **given)
            except ValueError as error:
                raise TrainingError(f"gradient boosting refused the rows: {error}") from error
        losses = _losses(model, tune is not None)
        best = int(np.nanargmin(losses)) + 1 if tune is not None else model.n_iter_
        if tune is not None and not math.isfinite(losses[best - 1]):
            raise TrainingDiverged("the validation loss of gradient boosting is not a number")
        seconds = (time.monotonic() - started) / max(model.n_iter_, 1)
        history = tuple(Epoch(math.nan, loss, seconds) for loss in losses)
        weights = _flattened(model, best).weights
        around.save(weights, {"val_loss": losses[best - 1]}, best, True)
        return Fitted(weights, history, best, losses[best - 1])

    def load(self, request: FitRequest, weights: State) -> Predictor:
        return BoostedTrees(Trees.of(weights, request.target.outputs), request)


class BoostedTrees:
    """Fitted trees; scored by ONNX Runtime, the way they are served."""

    def __init__(self, trees: Trees, request: FitRequest) -> None:
        self._onnx = TreesInOnnx(trees, request.inputs, request.target.task)
        self._trees, self._outputs = trees, request.target.outputs

    def raw(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return self._onnx.raw(features)

    def exact(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """The same in float64, tree by tree: what the exported graph is held against."""
        return self._onnx.spread(self._trees.raw(features))

    def export(self, path: Path) -> None:
        path.write_bytes(self._onnx.serialized)


def _estimator(request: FitRequest, validated: bool) -> Any:
    parameters = request.parameters
    given: dict[str, Any] = {
        "learning_rate": parameters["learning_rate"],
        "max_iter": parameters["trees"],
        "max_leaf_nodes": parameters["leaves"],
        "min_samples_leaf": parameters["min_leaf_rows"],
        "l2_regularization": parameters["l2"],
        "max_features": parameters["column_share"],
        "early_stopping": validated,
        "n_iter_no_change": parameters["patience"] or 20,
        "scoring": "loss",
        "tol": 0.0,
        "random_state": request.seed % 2**32,
        "categorical_features": None,
    }
    if request.target.task == "regression":
        return HistGradientBoostingRegressor(**given)
    return HistGradientBoostingClassifier(**given)


def _truth(request: FitRequest, part: Part) -> npt.NDArray[Any]:
    target = request.target
    if target.task == "regression":
        return (part.targets - target.mean) / target.scale
    return part.targets


def _losses(model: Any, validated: bool) -> list[float]:
    """Validation loss after each tree; without validation NaN each."""
    if not validated:
        return [math.nan] * int(model.n_iter_)
    # scikit-learn's squared error is halved, and its first score is that of no tree at all.
    halved = 2.0 if isinstance(model, HistGradientBoostingRegressor) else 1.0
    return [-halved * float(score) for score in model.validation_score_[1:]]


def _flattened(model: Any, rounds: int) -> Trees:
    """The first ``rounds`` trees of each output as arrays."""
    nodes, outputs = [], []
    for grown in model._predictors[:rounds]:
        for output, tree in enumerate(grown):
            nodes.append(tree.nodes)
            outputs.append(output)
    baseline = np.asarray(model._baseline_prediction, np.float64).reshape(-1)
    return Trees.flattened(nodes, outputs, baseline)


FAMILY = Boosting()
