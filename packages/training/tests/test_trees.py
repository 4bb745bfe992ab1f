"""Trees behind the family port: they answer as scikit-learn's, in arrays and in ONNX."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

from agentloop.contracts.errors import TrainingDiverged, TrainingError
from agentloop.contracts.spec_families import ParametersSpec, parameters_of
from agentloop.training.families import family_of
from agentloop.training.fits import Alone, FitRequest, Fitted, Layout, Part, Target
from agentloop.training.head import Head
from agentloop.training.onnx_export import check_parity, export_model, run_onnx
from agentloop.training.onnx_trees import Trees, TreesInOnnx, floor32

RNG = np.random.default_rng(0)
WIDTH, ROWS = 6, 900
FAMILIES = ("gradient-boosting", "extra-trees")
TASKS = {
    "binary": Target("binary", ("a", "b")),
    "multiclass": Target("multiclass", ("a", "b", "c")),
    "regression": Target("regression", (), 2.0, 3.0),
}


def request(family: str, task: str, **parameters: object) -> FitRequest:
    layout = Layout((0.0,) * WIDTH, (1.0,) * WIDTH)
    chosen = {**parameters_of(family, ParametersSpec()), "trees": 40, **parameters}
    return FitRequest(family, layout, TASKS[task], chosen, 0, ".")


def rows(task: str) -> tuple[Part, Part]:
    target = TASKS[task]
    features = RNG.normal(size=(ROWS, WIDTH)).astype(np.float32)
    scores = features @ RNG.normal(size=(WIDTH, target.outputs))
    scores = scores + RNG.normal(size=scores.shape) / 2
    if task == "regression":
        targets = 2.0 + 3.0 * scores[:, 0]
    elif task == "binary":
        targets = (scores[:, 0] > 0).astype(np.int64)
    else:
        targets = scores.argmax(axis=1)
    part = Part(features, targets)
    return part.rows(np.arange(600)), part.rows(np.arange(600, ROWS))


def fitted(family: str, task: str, **parameters: object) -> tuple[FitRequest, Fitted, Part]:
    asked = request(family, task, **parameters)
    train, tune = rows(task)
    return asked, family_of(family).fit(asked, train, tune, Alone(threads=1)), tune


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", list(TASKS))
def test_the_exported_graph_answers_as_the_trees_do(family: str, task: str, tmp_path: Path) -> None:
    asked, fit, tune = fitted(family, task)
    model = family_of(family).load(asked, fit.weights)
    head = Head(TASKS[task].task, TASKS[task].mean, TASKS[task].scale, 1.3)
    path = tmp_path / "model.onnx"
    export_model([(model, 1.0)], head, WIDTH, path)
    assert check_parity([(model, 1.0)], head, path, tune.features) <= 1e-5
    assert run_onnx(path, tune.features).shape == (len(tune.targets), TASKS[task].outputs)
    assert fit.best_loss < (2.0 if task == "regression" else np.log(TASKS[task].outputs))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_request_gives_the_same_trees_on_any_number_of_threads(family: str) -> None:
    asked, (train, _) = request(family, "binary"), rows("binary")
    first, second = (
        family_of(family).fit(asked, train, None, Alone(threads=threads)).weights
        for threads in (1, 2)
    )
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_boosting_answers_as_scikit_learn_does() -> None:
    asked, (train, tune) = request("gradient-boosting", "binary"), rows("binary")
    theirs = HistGradientBoostingClassifier(max_iter=40, random_state=0, early_stopping=False)
    theirs.fit(train.features, train.targets)
    fit = family_of("gradient-boosting").fit(asked, train, None, Alone(threads=1))
    raw = family_of("gradient-boosting").load(asked, fit.weights).raw(tune.features)
    np.testing.assert_allclose(raw[:, 1], theirs.decision_function(tune.features), atol=1e-5)


def test_a_forest_answers_as_scikit_learn_does() -> None:
    asked, (train, tune) = request("extra-trees", "multiclass", min_leaf_rows=8), rows("multiclass")
    theirs = ExtraTreesClassifier(
        40, max_leaf_nodes=512, min_samples_leaf=8, max_features=0.5, random_state=0
    )
    theirs.fit(train.features, train.targets)
    fit = family_of("extra-trees").fit(asked, train, None, Alone(threads=1))
    raw = family_of("extra-trees").load(asked, fit.weights).raw(tune.features)
    shares = np.clip(theirs.predict_proba(tune.features), 1e-3, 1 - 1e-3)
    np.testing.assert_allclose(np.exp(raw), shares, atol=1e-5)


def test_boosting_stops_when_it_no_longer_gets_better() -> None:
    _, fit, _ = fitted("gradient-boosting", "binary", trees=2000, learning_rate=0.5, patience=5)
    assert len(fit.history) <= fit.best_epoch + 5 < 300
    assert fit.best_loss == min(epoch.val_loss for epoch in fit.history)
    assert int(fit.weights["start"].shape[0]) - 1 == fit.best_epoch


def test_a_threshold_between_two_floats_still_parts_them() -> None:
    low = np.float32(0.1)
    high = np.nextafter(low, np.float32(1))
    middle = np.array([(float(low) + float(high)) / 2, float(low), float(high), 1e300, -1e300])
    floored = floor32(middle)
    assert low <= floored[0]
    assert not (high <= floored[0])
    assert (floored[1], floored[2]) == (low, high)
    assert np.isfinite(RNG.normal())
    assert floored[3] > 1e38
    assert floored[4] == -np.inf


def test_weights_of_other_trees_are_refused() -> None:
    asked, fit, _ = fitted("gradient-boosting", "binary")
    with pytest.raises(TrainingError, match="another number of classes"):
        family_of("gradient-boosting").load(request("gradient-boosting", "multiclass"), fit.weights)
    with pytest.raises(TrainingError, match="missing"):
        family_of("gradient-boosting").load(asked, {"feature": fit.weights["feature"]})


@pytest.mark.parametrize("validated", [True, False])
def test_boosting_that_runs_off_says_so(validated: bool) -> None:
    asked, (train, tune) = (
        request("gradient-boosting", "regression", learning_rate=1e60),
        rows("regression"),
    )
    with pytest.raises(TrainingDiverged):
        family_of("gradient-boosting").fit(
            asked, train, tune if validated else None, Alone(threads=1)
        )


def test_the_history_of_boosting_has_both_losses() -> None:
    _, fit, _ = fitted("gradient-boosting", "regression")
    losses = [epoch.train_loss for epoch in fit.history]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < fit.history[-1].val_loss


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("present", [(0,), (2,), (0, 2), (1, 2, 3), (0, 1, 2, 3)])
def test_a_class_without_rows_to_fit_on_is_scored_last(
    family: str, present: tuple[int, ...], tmp_path: Path
) -> None:
    """It comes later in time than the fold's rows, or in other groups."""
    target = Target("multiclass", ("a", "b", "c", "d"))
    asked = replace(request(family, "multiclass", trees=20), target=target)
    truth = np.array(present)[RNG.integers(0, len(present), 400)]
    features = np.tile(truth[:, None] + RNG.normal(scale=0.2, size=(400, 1)), (1, WIDTH))
    truth[-10:] = 3  # Rows to validate may be of a class that none was fitted on.
    part = Part(features.astype(np.float32), truth)
    train, tune = part.rows(np.arange(300)), part.rows(np.arange(300, 400))
    fit = family_of(family).fit(asked, train, tune, Alone(threads=1))
    model = family_of(family).load(asked, fit.weights)
    raw = model.raw(train.features)
    shares = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    assert (shares.argmax(axis=1) == train.targets).mean() > 0.95
    assert (np.delete(shares, present, axis=1) < 0.01).all()
    assert np.isfinite(fit.best_loss)
    export_model([(model, 1.0)], Head("multiclass"), WIDTH, tmp_path / "model.onnx")
    check_parity([(model, 1.0)], Head("multiclass"), tmp_path / "model.onnx", tune.features)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("only", [0, 1])
def test_rows_of_one_class_alone_still_make_a_model(family: str, only: int) -> None:
    asked, (train, tune) = request(family, "binary"), rows("binary")
    train = Part(train.features, np.full_like(train.targets, only))
    fit = family_of(family).fit(asked, train, tune, Alone(threads=1))
    raw = family_of(family).load(asked, fit.weights).raw(tune.features)
    assert (raw.argmax(axis=1) == only).all()
    assert np.log(2) < fit.best_loss < 10


def test_an_output_without_trees_keeps_its_baseline() -> None:
    """ONNX Runtime leaves base_values out of a score that no tree adds to."""
    leaf = {name: np.zeros(1) for name in ("feature_idx", "num_threshold", "left", "right")}
    leaf |= {"value": np.array([0.5]), "is_leaf": np.ones(1)}
    trees = Trees.flattened([leaf], [1], np.array([-7.0, 1.0, 3.0]))
    raw = TreesInOnnx(trees, 2, "multiclass").raw(np.zeros((3, 2), np.float32))
    np.testing.assert_array_equal(raw, np.tile(np.array([-7.0, 1.5, 3.0], np.float32), (3, 1)))
    np.testing.assert_array_equal(raw, trees.raw(np.zeros((3, 2), np.float32)))
