"""Extremely randomised trees behind the family port (Geurts et al. 2006): strong where rows are few
and noisy. Kept as plain arrays, like boosted trees, so that nothing is ever unpickled."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

from agentloop.contracts.errors import TrainingDiverged, TrainingError
from agentloop.training.fits import Epoch, FitRequest, Fitted, Part, Predictor, State, Surroundings
from agentloop.training.onnx_tree_models import TreeModel, check_columns, loss_of, truth_of
from agentloop.training.onnx_trees import Trees
from agentloop.training.processors import usable_cpus

# A leaf that saw one class says so with this much doubt: its logarithm stays finite.
LEAST_SHARE = 1e-3


class Forest:
    """The family ``extra-trees``: the mean of the trees' shares of each class, as logarithms."""

    def check(self, request: FitRequest) -> None:
        check_columns(request)

    def fit(
        self, request: FitRequest, train: Part, tune: Part | None, around: Surroundings
    ) -> Fitted:
        started = time.monotonic()
        threads = around.threads or usable_cpus()
        model = _estimator(request, threads)
        try:
            model.fit(train.features, truth_of(request, train))
        except ValueError as error:
            raise TrainingError(f"extra trees refused the rows: {error}") from error
        weights = _flattened(model, request).weights
        trees = int(request.parameters["trees"])
        loss = math.nan
        if tune is not None:
            loss = loss_of(request, self.load(request, weights).raw(tune.features), tune)
            if not math.isfinite(loss):
                raise TrainingDiverged("the validation loss of extra trees is not a number")
        history = (Epoch(math.nan, loss, time.monotonic() - started),)
        around.save(weights, {"val_loss": loss}, trees, True)
        return Fitted(weights, history, trees, loss)

    def load(self, request: FitRequest, weights: State) -> Predictor:
        least = None if request.target.task == "regression" else LEAST_SHARE
        return TreeModel(Trees.of(weights, request.target.outputs), request, least)


def _estimator(request: FitRequest, threads: int) -> Any:
    parameters = request.parameters
    given: dict[str, Any] = {
        "n_estimators": parameters["trees"],
        "max_leaf_nodes": parameters["leaves"],
        "min_samples_leaf": parameters["min_leaf_rows"],
        "max_features": parameters["column_share"],
        "random_state": request.seed % 2**32,
        "n_jobs": threads,
    }
    if request.target.task == "regression":
        return ExtraTreesRegressor(**given)
    return ExtraTreesClassifier(**given)


def _flattened(model: Any, request: FitRequest) -> Trees:
    """A tree for each class that has a score of its own, with its share in the leaves as value."""
    target = request.target
    scored = {"regression": [0], "binary": [1]}.get(target.task, range(target.outputs))
    place = {int(label): at for at, label in enumerate(getattr(model, "classes_", []))}
    parts: list[dict[str, Any]] = []
    outputs: list[int] = []
    for estimator in model.estimators_:
        tree = estimator.tree_
        values = tree.value[:, 0, :]
        for output, label in enumerate(scored):
            if target.task == "regression":
                share = values[:, 0]
            elif label in place:
                share = values[:, place[label]] / values.sum(axis=1)
            else:
                share = np.zeros(len(values))
            parts.append(_nodes(tree, share / len(model.estimators_)))
            outputs.append(output)
    baseline = np.zeros(len(list(scored)))
    return Trees.flattened(parts, outputs, baseline)


def _nodes(tree: Any, value: npt.NDArray[np.float64]) -> dict[str, Any]:
    leaf = tree.children_left < 0
    return {
        "feature_idx": np.where(leaf, 0, tree.feature),
        "num_threshold": np.where(leaf, 0.0, tree.threshold),
        "left": np.where(leaf, 0, tree.children_left),
        "right": np.where(leaf, 0, tree.children_right),
        "value": value,
        "is_leaf": leaf,
    }


FAMILY = Forest()
