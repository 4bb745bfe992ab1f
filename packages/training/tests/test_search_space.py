import pytest

from agentloop.contracts import ParametersSpec, SearchSpec, TrainingError
from agentloop.training.search_space import Trial, best_of, check_space, decode, encode


def spec(**space):
    return SearchSpec.model_validate({"space": space})


RATE = {"low": 1e-4, "high": 1e-1, "log": True}


def test_a_choice_is_drawn_as_its_position():
    search = spec(hidden={"choices": [[16], [64, 32]]}, learning_rate=RATE)
    found = decode({"hidden": 1, "learning_rate": 0.02}, search, ParametersSpec())
    assert (found.hidden, found.learning_rate) == ((64, 32), 0.02)


def test_defaults_within_the_space_are_its_first_draw():
    search = spec(hidden={"choices": [[16], [64]]}, learning_rate=RATE)
    assert encode(search, ParametersSpec()) == {"hidden": 1, "learning_rate": 0.01}


@pytest.mark.parametrize(
    "space", [{"hidden": {"choices": [[16]]}}, {"epochs": {"low": 31, "high": 40, "integer": True}}]
)
def test_defaults_outside_the_space_are_not_drawn(space):
    assert encode(spec(**space), ParametersSpec()) is None


@pytest.mark.parametrize(
    "space", [{"hidden": {"choices": [["wide"]]}}, {"dropout": {"low": 0.0, "high": 1.5}}]
)
def test_a_space_with_a_forbidden_value_is_refused_before_any_trial(space):
    with pytest.raises(TrainingError, match=r"search\.space"):
        check_space(spec(**space), ParametersSpec())


def test_the_best_trial_is_the_first_with_the_lowest_loss():
    trials = tuple(Trial({"n": n}, loss, 0.1) for n, loss in enumerate([0.5, None, 0.2, 0.2]))
    best = best_of(trials)
    assert best is not None
    assert best.parameters == {"n": 2}


def test_no_trial_is_best_when_all_diverged():
    assert best_of((Trial({}, None, 0.1),)) is None
