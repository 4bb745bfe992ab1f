"""The training rows are parted as the test split was."""

import numpy as np
import pytest

from agentloop.contracts import ColumnSchema, DataSchema, SplitSpec, TrainingError
from agentloop.training.folds import part_training

SCHEMA = DataSchema(
    (
        ColumnSchema("x", "number"),
        ColumnSchema("site", "category"),
        ColumnSchema("day", "datetime"),
        ColumnSchema("label", "category"),
    ),
    target="label",
)
TIME = SplitSpec(by="time", column="day")
GROUP = SplitSpec(by="group", column="site")
HASH = SplitSpec(by="hash", column="site")
VALUE = SplitSpec(by="value", column="site", values=("s99",))


def columns(rows=200, groups=17, days=20):
    rng = np.random.default_rng(3)
    site = np.array([f"s{n}" for n in rng.integers(0, groups, rows)], object)
    label = np.array(["rare" if n % 10 == 0 else "common" for n in range(rows)], object)
    day = rng.integers(0, days, rows) * 86400.0
    return {"x": np.arange(rows, dtype=float), "site": site, "day": day, "label": label}


def parted(split, folds=1, seed=0, data=None, schema=SCHEMA):
    data = columns() if data is None else data
    return part_training(data, len(data["x"]), split, schema, seed, folds)


@pytest.mark.parametrize("split", [SplitSpec(), SplitSpec(by="order"), TIME, GROUP, HASH, VALUE])
@pytest.mark.parametrize("folds", [1, 2, 5])
def test_no_row_is_on_both_sides_and_all_are_used(split, folds):
    for fold in parted(split, folds):
        assert sorted([*fold.fit, *fold.tune]) == list(range(200))
        assert len(fold.tune)


@pytest.mark.parametrize("split", [SplitSpec(), SplitSpec(by="hash"), GROUP, HASH, VALUE])
def test_of_several_folds_each_row_validates_once(split):
    folds = parted(split, 5)
    assert sorted(np.concatenate([fold.tune for fold in folds])) == list(range(200))
    assert all(20 <= len(fold.tune) <= 60 for fold in folds)


@pytest.mark.parametrize("split", [SplitSpec(), SplitSpec(by="order"), TIME, GROUP, VALUE])
def test_one_fold_validates_on_about_a_fifth(split):
    (fold,) = parted(split)
    assert 25 <= len(fold.tune) <= 55


@pytest.mark.parametrize("split", [GROUP, HASH])
@pytest.mark.parametrize("folds", [1, 4])
def test_groups_stay_whole(split, folds):
    site = columns()["site"]
    for fold in parted(split, folds):
        assert not set(site[fold.fit]) & set(site[fold.tune])


def test_nulls_are_a_group_too():
    data = columns()
    data["site"][::3] = None
    for fold in parted(GROUP, 3, data=data):
        assert not set(data["site"][fold.fit]) & set(data["site"][fold.tune])


@pytest.mark.parametrize("folds", [1, 5])
def test_later_rows_validate_and_ties_stay_together(folds):
    day = columns()["day"]
    (fold,) = parted(TIME, folds)
    assert day[fold.fit].max() < day[fold.tune].min()
    (fold,) = parted(SplitSpec(by="order"), folds)
    np.testing.assert_array_equal(fold.tune, np.arange(160, 200))


def test_rows_without_a_time_train():
    data = columns()
    data["day"][:50] = np.nan
    (fold,) = parted(TIME, data=data)
    assert set(range(50)) <= set(fold.fit)


def test_a_split_by_the_value_of_a_time_goes_forward():
    (fold,) = parted(SplitSpec(by="value", column="day", values=("2020-01-01",)), 3)
    day = columns()["day"]
    assert day[fold.fit].max() < day[fold.tune].min()
    one_day = {**columns(), "day": np.zeros(200)}
    by_day = SplitSpec(by="value", column="day", values=("2020-01-01",))
    assert len(parted(by_day, 3, data=one_day)) == 3


def test_folds_have_each_class_in_equal_shares():
    label = columns()["label"]
    for fold in parted(SplitSpec(), 5):
        assert (label[fold.tune] == "rare").sum() == 4


@pytest.mark.parametrize("folds", [1, 5])
def test_the_only_row_of_a_class_trains(folds):
    for seed in range(5):
        data = columns()
        data["label"][7 * seed] = "once"
        for fold in parted(SplitSpec(), folds, seed, data):
            assert set(data["label"][fold.tune]) <= set(data["label"][fold.fit])
            assert len(fold.fit) + len(fold.tune) == 200
            assert "once" in data["label"][fold.fit]


@pytest.mark.parametrize("split", [SplitSpec(by="order"), TIME])
def test_a_class_that_comes_later_does_not_validate(split):
    data = columns()
    late = data["day"] == data["day"].max() if split is TIME else np.arange(200) >= 190
    data["label"][late] = "late"
    (fold,) = parted(split, data=data)
    assert "late" not in data["label"][fold.fit]
    assert "late" not in data["label"][fold.tune]


def test_the_seed_decides():
    for split in (SplitSpec(), GROUP):
        for folds in (1, 3):
            first, same, other = (parted(split, folds, seed)[0].tune for seed in (1, 1, 2))
            np.testing.assert_array_equal(first, same)
            assert not np.array_equal(first, other)


def test_the_seed_does_not_follow_the_test_split():
    rows = parted(SplitSpec(seed=0), seed=0)[0].tune
    assert not np.array_equal(rows, parted(SplitSpec(seed=0), seed=1)[0].tune)


@pytest.mark.parametrize(
    ("split", "folds", "rows", "reason"),
    [
        (GROUP, 1, {"site": np.array(["s"] * 200, object)}, "1 different values of 'site'"),
        (GROUP, 5, {"site": np.array(["s", "t"] * 100, object)}, "too few for 5 parts"),
        (TIME, 1, {"day": np.ones(200)}, "the same time in all training rows"),
        (TIME, 1, {"day": np.full(200, np.nan)}, "the same time in all training rows"),
    ],
)
def test_a_column_of_too_few_values_says_so(split, folds, rows, reason):
    with pytest.raises(TrainingError, match=reason):
        parted(split, folds, data={**columns(), **rows})


def test_too_few_rows_say_so():
    for rows, folds in ((1, 1), (3, 5), (0, 1)):
        with pytest.raises(TrainingError, match="cannot be parted"):
            parted(SplitSpec(), folds, data=columns(rows))
