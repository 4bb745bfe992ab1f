"""Gradient boosting behind the family port: scikit-learn's histogram trees (LightGBM's algorithm,
Ke et al. 2017), kept as plain arrays so that nothing is ever unpickled."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from agentloop.contracts.errors import TrainingDiverged, TrainingError
from agentloop.training.fits import (
    Epoch,
    FitRequest,
    Fitted,
    Part,
    Predictor,
    State,
    Surroundings,
    Target,
)
from agentloop.training.onnx_tree_models import TreeModel, check_columns, loss_of, truth_of
from agentloop.training.onnx_trees import Trees
from agentloop.training.processors import usable_cpus


class Boosting:
    """The family ``gradient-boosting``."""

    def check(self, request: FitRequest) -> None:
        check_columns(request)

    def fit(
        self, request: FitRequest, train: Part, tune: Part | None, around: Surroundings
    ) -> Fitted:
        started = time.monotonic()
        model = _grown(request, train, tune, around.threads or usable_cpus())
        train_losses, losses = _losses(model, tune is not None)
        best = int(np.argmin(losses)) + 1 if tune is not None else len(losses)
        if model is None:
            trees = _constant(request.target, train)
        else:
            trees = _flattened(model, best, request.target, len(train.targets))
        _check_finite(trees, losses if tune is not None else [])
        weights = trees.weights
        if tune is not None and _unseen(request, train, tune).any():
            # A class without trees costs its rows about the same after every tree.
            exact = loss_of(request, self.load(request, weights).raw(tune.features), tune)
            losses = [loss - losses[best - 1] + exact for loss in losses]
        seconds = (time.monotonic() - started) / max(len(losses), 1)
        pairs = zip(train_losses, losses, strict=True)
        history = tuple(Epoch(fitted, held, seconds) for fitted, held in pairs)
        around.save(weights, {"val_loss": losses[best - 1]}, best, True)
        return Fitted(weights, history, best, losses[best - 1])

    def load(self, request: FitRequest, weights: State) -> Predictor:
        return TreeModel(Trees.of(weights, request.target.outputs), request)


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


def _grown(request: FitRequest, train: Part, tune: Part | None, threads: int) -> Any:
    """scikit-learn's model; None where all rows are of one class, which it can not fit."""
    truth = truth_of(request, train)
    if request.target.task != "regression" and len(np.unique(truth)) < 2:
        return None
    if tune is not None:
        # scikit-learn refuses to validate on classes that it was not fitted on.
        tune = tune.rows(np.flatnonzero(~_unseen(request, train, tune)))
    validated = tune is not None and len(tune.targets) > 0
    given: dict[str, Any] = {}
    if tune is not None and validated:
        given = {"X_val": tune.features, "y_val": truth_of(request, tune)}
    model = _estimator(request, validated)
    try:
        with threadpool_limits(threads, user_api="openmp"), np.errstate(all="ignore"):
            return model.fit(train.features, truth, **given)
    except ValueError as error:
        raise TrainingError(f"gradient boosting refused the rows: {error}") from error


def _unseen(request: FitRequest, train: Part, tune: Part) -> npt.NDArray[np.bool_]:
    """bool (rows,): whose class no row to fit on has. It may come later in time, or in other
    groups."""
    if request.target.task == "regression":
        return np.zeros(len(tune.targets), np.bool_)
    return ~np.isin(tune.targets, train.targets)


def _losses(model: Any, validated: bool) -> tuple[list[float], list[float]]:
    """Training and validation loss after each tree. Without rows to validate on scikit-learn
    measures neither: NaN, or 0 for a validation of which only the lack is known yet."""
    if model is None:
        return [math.nan], [0.0 if validated else math.nan]
    if not len(model.validation_score_):
        rounds = int(model.n_iter_)
        return [math.nan] * rounds, [0.0 if validated else math.nan] * rounds
    # scikit-learn's squared error is halved, and its first score is that of no tree at all.
    halved = 2.0 if isinstance(model, HistGradientBoostingRegressor) else 1.0
    scores = (model.train_score_[1:], model.validation_score_[1:])
    first, second = ([-halved * float(score) for score in one] for one in scores)
    return first, second


def _check_finite(trees: Trees, losses: list[float]) -> None:
    """Raises TrainingDiverged where a loss, or what the trees could add up to, is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        largest = np.maximum.reduceat(np.abs(trees.value), trees.start[:-1]).sum()
    if not np.isfinite(losses).all():
        raise TrainingDiverged("the validation loss of gradient boosting is not a number")
    if not (np.isfinite(largest) and np.isfinite(trees.baseline).all()):
        raise TrainingDiverged("the scores of gradient boosting are not numbers")


def _flattened(model: Any, rounds: int, target: Target, rows: int) -> Trees:
    """The first ``rounds`` trees of each output as arrays.

    A class that no row had gets no tree, and the score it would have begun with had one row more
    been its: a share of 1 in ``rows`` + 1.
    """
    nodes, outputs = [], []
    for grown in model._predictors[:rounds]:
        for output, tree in enumerate(grown):
            nodes.append(tree.nodes)
            outputs.append(output)
    baseline = np.asarray(model._baseline_prediction, np.float64).reshape(-1)
    if target.outputs > max(2, len(baseline)):
        known = np.asarray(model.classes_, np.int64)
        # Of two classes the second alone has trees: its score against a zero.
        scored = known[-len(baseline) :]
        outputs = [int(scored[output]) for output in outputs]
        begin = np.full(target.outputs, -np.inf)
        begin[known] = 0.0
        begin[scored] = baseline
        lowest = np.logaddexp.reduce(begin) - math.log(rows)
        baseline = np.where(np.isneginf(begin), lowest, begin)
    with np.errstate(over="ignore"):
        return Trees.flattened(nodes, outputs, baseline)


def _constant(target: Target, train: Part) -> Trees:
    """One leaf and the same scores for all rows: those of the one class there is."""
    least = -math.log(len(train.targets))
    baseline = np.full(target.outputs, least)
    baseline[train.targets[0]] = 0.0
    if target.task == "binary":
        baseline = baseline[1:] - baseline[:1]
    names = ("feature_idx", "num_threshold", "left", "right", "value")
    leaf = {name: np.zeros(1) for name in names} | {"is_leaf": np.ones(1)}
    return Trees.flattened([leaf], [0], baseline)


FAMILY = Boosting()
