import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from agentloop.training.metrics import f1_macro, log_loss, measure, roc_auc


def scored(classes, rows=200, seed=0):
    rng = np.random.default_rng(seed)
    raw = np.round(rng.random((rows, classes)), 1) + 0.05  # rounding makes ties
    labels = np.append(np.arange(classes), rng.integers(0, classes, rows - classes))
    return raw / raw.sum(axis=1, keepdims=True), labels


@given(st.integers(2, 5), st.integers(0, 50))
def test_classification_metrics_agree_with_scikit_learn(classes, seed):
    scores, labels = scored(classes, seed=seed)
    found = measure("multiclass", scores, labels)
    predicted = scores.argmax(axis=1)
    area = scores[:, 1] if classes == 2 else scores
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    assert found["f1"] == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    assert found["log_loss"] == pytest.approx(reference.log_loss(labels, scores))
    assert found["roc_auc"] == pytest.approx(
        reference.roc_auc_score(labels, area, multi_class="ovr")
    )


def test_regression_metrics_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    targets, predicted = rng.normal(size=50), rng.normal(size=50)
    found = measure("regression", predicted.reshape(-1, 1), targets)
    assert found["r2"] == pytest.approx(reference.r2_score(targets, predicted))
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(targets, predicted))
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(targets, predicted))


def test_what_the_rows_do_not_define_is_left_out():
    assert "roc_auc" not in measure("binary", np.array([[0.9, 0.1]]), np.array([0]))
    assert "r2" not in measure("regression", np.array([[1.0]]), np.array([2.0]))
    assert roc_auc(np.array([[0.5, 0.5]]), np.array([1])) is None


def test_a_certain_mistake_costs_much_but_not_infinitely():
    assert log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(16.118, abs=1e-3)


def test_f1_ignores_a_class_that_is_nowhere():
    labels = np.array([0, 0, 1, 1])
    assert f1_macro(labels, labels, classes=7) == 1.0
