from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from agentloop.lifecycle import ReferenceProfile
from agentloop.monitoring.bets import column_bets
from agentloop.monitoring.counts import CountLayout
from agentloop.monitoring.detector import DetectorState, DriftDetector, alarm_threshold


def drive(
    profile: ReferenceProfile, make: Callable[..., Any], blocks: int, rows: int, shift: float
) -> tuple[DriftDetector, DetectorState]:
    """The detector after that many blocks, or at its first alarm."""
    detector, layout = DriftDetector(profile, alarm_threshold(10.0)), CountLayout(profile)
    state = detector.start()
    for seed in range(blocks):
        columns, labels = make(rows, 1000 + seed, shift)
        state = detector.step(state, layout.split(layout.fold(columns, labels)))
        if state.alarm:
            break
    return detector, state


def test_threshold_is_thirty_days_of_blocks() -> None:
    assert alarm_threshold(10.0) == 259_200


def test_no_alarm_over_many_blocks_without_drift(
    profile: ReferenceProfile, rows: Callable[..., Any]
) -> None:
    _, state = drive(profile, rows, blocks=1500, rows=100, shift=0.0)
    assert not state.alarm
    assert state.rows == 150_000


@pytest.mark.parametrize(("shift", "most"), [(0.5, 3000), (1.0, 600)])
def test_shift_of_one_column_is_caught(
    profile: ReferenceProfile, rows: Callable[..., Any], shift: float, most: int
) -> None:
    detector, state = drive(profile, rows, blocks=200, rows=50, shift=shift)
    assert state.alarm
    assert state.rows <= most
    assert state.delay is not None
    assert state.delay <= state.rows
    assert [detector.names[i] for i in np.flatnonzero(detector.alarmed_columns(state))] == ["x0"]


def test_alarm_clears_when_traffic_is_normal_again(
    profile: ReferenceProfile, rows: Callable[..., Any]
) -> None:
    detector, state = drive(profile, rows, blocks=200, rows=50, shift=1.0)
    layout = CountLayout(profile)
    for seed in range(300):
        if not state.alarm:
            break
        columns, labels = rows(200, seed)
        state = detector.step(state, layout.split(layout.fold(columns, labels)))
    assert not state.alarm


def test_empty_block_is_no_evidence(profile: ReferenceProfile) -> None:
    detector, layout = DriftDetector(profile, alarm_threshold(10.0)), CountLayout(profile)
    start = detector.start()
    assert detector.step(start, layout.split(layout.empty())) is start


def test_no_bet_can_be_ruined_by_one_row(profile: ReferenceProfile) -> None:
    for column in profile.columns:
        bets = column_bets(column)
        assert np.exp(bets.log_factors).min() >= 0.049
        assert bets.weights.sum() == pytest.approx(1.0)


def test_bets_do_not_gain_on_the_reference_itself(profile: ReferenceProfile) -> None:
    for column in (*profile.columns, profile.prediction):
        share = np.asarray(column.counts) / sum(column.counts)
        expected = np.exp(column_bets(column).log_factors) @ share
        assert (expected < 1).all()


def test_known_season_widens_the_tolerance(profile: ReferenceProfile) -> None:
    share = np.asarray(profile.columns[0].counts) / sum(profile.columns[0].counts)
    plain, wide = (column_bets(profile.columns[0], season=s).log_factors[:3] for s in (0.0, 0.2))
    assert (np.exp(wide) @ share < np.exp(plain) @ share).all()
