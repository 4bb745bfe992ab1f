"""Choosing models that answer together, taking their probabilities at their word, and saying which
columns they rest on."""

from __future__ import annotations

import numpy as np
import pytest

from agentloop.lifecycle.features import CategoricalFeature, FeaturePipeline, NumericFeature
from agentloop.training.calibration import calibrate
from agentloop.training.ensemble import select_members
from agentloop.training.fits import Part, Target
from agentloop.training.head import Head, softmax
from agentloop.training.importance import permutation_importances, rows_within

BINARY = Target("binary", ("no", "yes"))
RNG = np.random.default_rng(1)


def logits(margin: np.ndarray) -> np.ndarray:
    return np.stack([np.zeros_like(margin), margin], axis=1).astype(np.float32)


def problem(rows: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """The true log odds, and labels drawn by them."""
    odds = RNG.normal(size=rows) * 2
    return odds, (RNG.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int64)


def test_models_whose_errors_differ_answer_together() -> None:
    odds, labels = problem()
    noisy = [logits(odds + RNG.normal(size=len(odds)) * 1.5) for _ in range(4)]
    junk = logits(RNG.normal(size=len(odds)) * 3)
    chosen = select_members([*noisy, junk], labels, BINARY, members=8)
    assert {index for index, _ in chosen} == {0, 1, 2, 3}
    assert sum(weight for _, weight in chosen) == pytest.approx(1.0)


def test_no_more_members_than_asked_for_and_the_best_is_one() -> None:
    odds, labels = problem()
    scores = [logits(odds + RNG.normal(size=len(odds)) * s) for s in (2.0, 0.5, 2.0, 2.0)]
    assert select_members(scores, labels, BINARY, members=1) == ((1, 1.0),)
    assert 1 in {index for index, _ in select_members(scores, labels, BINARY, members=2)}


def test_a_regression_mixes_by_squared_error() -> None:
    truth = RNG.normal(size=2000)
    target = Target("regression", (), mean=5.0, scale=2.0)
    scores = [(truth + RNG.normal(size=2000))[:, None].astype(np.float32) for _ in range(3)]
    chosen = select_members(scores, 5.0 + 2.0 * truth, target, members=3)
    assert len(chosen) == 3


def test_confident_scores_are_cooled_to_what_they_are_worth() -> None:
    odds, labels = problem(20_000)
    head, calibration = calibrate(BINARY, logits(odds * 3), labels)
    assert head.temperature == pytest.approx(3.0, rel=0.1)
    assert calibration.ece_before is not None
    assert calibration.ece_after is not None
    assert calibration.ece_after < 0.015 < calibration.ece_before
    assert sum(b.count for b in calibration.bins) == len(labels)


def test_a_regression_tells_its_errors_in_the_targets_unit() -> None:
    target = Target("regression", (), mean=10.0, scale=4.0)
    raw = RNG.normal(size=(5000, 1)).astype(np.float32)
    errors = RNG.normal(size=5000)
    head, calibration = calibrate(target, raw, 10.0 + 4.0 * raw[:, 0] + errors)
    assert head.apply(np.zeros((1, 1), np.float32))[0, 0] == 10.0
    assert dict(calibration.residuals)[0.95] == pytest.approx(1.645, abs=0.1)


def test_the_columns_that_matter_lead() -> None:
    pipeline = FeaturePipeline(
        (NumericFeature("noise", 0, 0, 1), NumericFeature("signal", 0, 0, 1)),
        (CategoricalFeature("colour", ("blue", "red")),),
    )
    features = RNG.normal(size=(800, 4)).astype(np.float32)
    features[:, 2:] = np.eye(2, dtype=np.float32)[RNG.integers(0, 2, 800)]
    margin = 3 * features[:, 1] + features[:, 2] - features[:, 3]
    part = Part(features, (margin > 0).astype(np.int64))

    def score(x: np.ndarray) -> np.ndarray:
        return softmax(logits(3 * x[:, 1] + x[:, 2] - x[:, 3])).astype(np.float32)

    found = permutation_importances(score, part, pipeline, BINARY, seed=0)
    assert [one.column for one in found.columns] == ["signal", "colour", "noise"]
    assert found.columns[-1].mean == 0.0
    assert found == permutation_importances(score, part, pipeline, BINARY, seed=0)


def test_pixels_are_not_weighed_one_by_one() -> None:
    pipeline = FeaturePipeline(tuple(NumericFeature(f"p{i}", 0, 0, 1) for i in range(400)), ())
    found = permutation_importances(
        lambda x: x, Part(np.zeros((2, 400), np.float32), np.zeros(2)), pipeline, BINARY, 0
    )
    assert found.columns == ()
    assert "400 columns" in found.note


def test_probabilities_sum_to_one_however_large_the_scores() -> None:
    scores = Head("multiclass").apply(np.array([[1e4, -1e4, 0.0]], np.float32))
    assert scores.tolist() == [[1.0, 0.0, 0.0]]


def test_many_columns_and_many_members_are_weighed_on_fewer_rows() -> None:
    assert rows_within(columns=10, members=1) == 2000
    assert rows_within(columns=100, members=2) == 216
    assert rows_within(columns=200, members=8) == 100
