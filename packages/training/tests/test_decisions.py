import pytest

from agentloop.lifecycle.testing import candidate
from agentloop.training.decisions import (
    architecture_of,
    change_between,
    choose_trial_actors,
    choose_workers,
    parameters_hash,
    patience,
)


def test_auto_trains_here_what_fits_and_elsewhere_what_does_not():
    assert choose_workers("auto", rows=1_797, width=64) == 0
    assert choose_workers("auto", rows=100_000_000, width=64) == 2
    assert choose_workers(3, rows=10, width=1) == 3


@pytest.mark.parametrize(
    ("concurrency", "trials", "rows", "actors"),
    [(2, 4, 500, 1), (2, 4, 10_000_000, 2), (8, 3, 10_000_000, 3), (1, 9, 10_000_000, 1)],
)
def test_actors_are_no_more_than_the_work_is_worth(concurrency, trials, rows, actors):
    assert choose_trial_actors(concurrency, trials, rows, epochs=30) == actors


def test_a_first_version_is_a_change_of_architecture():
    assert change_between((), "bugfix", "mlp(64)") == ("0.0.0", "architecture")


def test_the_declared_change_counts_from_the_highest_version():
    versions = (candidate("2.0.0-aaaaaaaa-bbbbbbbb"), candidate("1.9.0-aaaaaaaa-bbbbbbbb"))
    assert change_between(versions, "bugfix", "mlp(64)") == (versions[0].version, "bugfix")


def test_another_layout_is_a_change_of_architecture():
    versions = (candidate("1.0.0-aaaaaaaa-bbbbbbbb"),)
    assert change_between(versions, "bugfix", "mlp(32)")[1] == "architecture"


def test_an_architecture_is_readable():
    assert architecture_of("mlp", {"hidden": [64, 32]}) == "mlp(64, 32)"
    assert architecture_of("linear", {"hidden": [64]}) == "linear"


def test_the_hash_sees_parameters_seed_and_the_users_code():
    base = parameters_hash("nets:wide", {"epochs": 1}, 0, "code")
    assert base == parameters_hash("nets:wide", {"epochs": 1}, 0, "code")
    others = {
        parameters_hash("nets:wide", {"epochs": 2}, 0, "code"),
        parameters_hash("nets:wide", {"epochs": 1}, 1, "code"),
        parameters_hash("nets:wide", {"epochs": 1}, 0, "other code"),
    }
    assert len({base, *others}) == 4


def test_patience_grows_with_the_epochs():
    assert [patience(n) for n in (1, 30, 100)] == [5, 6, 20]
