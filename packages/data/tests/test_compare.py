"""A batch against its history: what is new is told, what always varied is not."""

from __future__ import annotations

from typing import Any

import numpy as np

from agentloop.contracts import ColumnProfile, DataProfile
from agentloop.data.compare import compare_profiles

RNG = np.random.default_rng(0)
PROBABILITIES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def profile(values: Any, rows: int = 1000, distinct: int = 12) -> DataProfile:
    array = np.asarray(values, float)
    quantiles = {f"{p:g}": float(np.quantile(array, p)) for p in PROBABILITIES}
    low, high = float(array.min()), float(array.max())
    size = ColumnProfile(
        "size", "number", rows, 0, rows, low, high, quantiles=quantiles, top=(), top_error=0
    )
    town = ColumnProfile("town", "category", rows, 0, distinct, top=(("Ulm", rows),))
    return DataProfile(rows, (size, town))


def checks(now: DataProfile, *past: DataProfile) -> list[str]:
    return [change.check for change in compare_profiles(now, past)]


def test_a_first_batch_has_nothing_to_be_compared_with() -> None:
    assert checks(profile(RNG.normal(size=1000))) == []


def test_batches_that_always_vary_are_no_news() -> None:
    past = [profile(RNG.normal(shift, size=1000)) for shift in (0, 1, 0, 1, 0)]
    assert checks(profile(RNG.normal(0.5, size=1000)), *past) == []
    assert checks(profile(RNG.normal(9, size=1000)), *past) == ["distribution"]


def test_a_steady_history_tells_a_smaller_shift() -> None:
    past = [profile(RNG.normal(size=1000)) for _ in range(5)]
    assert checks(profile(RNG.normal(1.0, size=1000)), *past) == ["distribution"]
    assert checks(profile(RNG.normal(0.1, size=1000)), *past) == []


def test_whole_numbers_do_not_shift_by_sampling() -> None:
    past = [profile(RNG.poisson(2, 1000)) for _ in range(3)]
    alarms = [checks(profile(RNG.poisson(2, 1000)), *past) for _ in range(50)]
    assert alarms == [[]] * 50


def test_volume_and_variety_are_told() -> None:
    past = profile(RNG.normal(size=1000))
    now = profile(RNG.normal(size=1000), rows=10_000, distinct=90)
    assert checks(now, past) == ["volume", "distinct"]
