from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentloop.lifecycle import ReferenceProfile
from agentloop.monitoring.score import column_score, shown_score


def test_quarter_sigma_scores_about_a_tenth(
    profile: ReferenceProfile, rows: Callable[..., Any]
) -> None:
    column = profile.columns[0]
    live = column.fold(rows(50_000, 3, 0.25)[0]["x0"])
    assert column_score(column, live, 1000) == pytest.approx(0.105, abs=0.015)


def test_same_distribution_scores_near_zero_on_few_rows(
    profile: ReferenceProfile, rows: Callable[..., Any]
) -> None:
    column = profile.columns[0]
    scores = [column_score(column, column.fold(rows(1000, s)[0]["x0"]), 1000) for s in range(20)]
    assert max(score for score in scores if score is not None) < 0.07


def test_too_few_rows_have_no_score(profile: ReferenceProfile, rows: Callable[..., Any]) -> None:
    column = profile.columns[0]
    assert column_score(column, column.fold(rows(999, 3)[0]["x0"]), 1000) is None


def test_disjoint_traffic_scores_near_one(profile: ReferenceProfile) -> None:
    column = profile.columns[0]
    assert column_score(column, column.fold([None] * 5000), 1000) > 0.99  # type: ignore[operator]


def test_score_stays_under_the_limit_until_the_alarm() -> None:
    assert shown_score(0.4, 0.1, alarm=False) == pytest.approx(0.099)
    assert shown_score(0.4, 0.1, alarm=True) == 0.4
