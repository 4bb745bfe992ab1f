"""A search as data: what may be drawn, what is tried first, and what is kept."""

import json
from dataclasses import replace

import numpy as np
import pytest

from agentloop.contracts import SearchSpec, TrainingError
from agentloop.contracts.spec import ChoiceSpec, RangeSpec
from agentloop.contracts.spec_families import FAMILY_DEFAULTS, ParametersSpec, defaults_of
from agentloop.training.family_spaces import FIRST, SPACES, choose_families, first_draws
from agentloop.training.fits import FitRequest, Layout, Target
from agentloop.training.optuna_draws import Draws
from agentloop.training.search_journal import JOURNAL, SearchJournal
from agentloop.training.search_space import (
    Draw,
    SearchPlan,
    SearchResult,
    Trial,
    best_of,
    check_space,
    is_inside,
    validated,
)
from agentloop.training.studies import best_draws, remember

LAYOUT = Layout((0.0,) * 4, (1.0,) * 4, blocks=(3, 2))
SPACE = {
    "learning_rate": RangeSpec(low=1e-4, high=1e-1, log=True),
    "hidden": ChoiceSpec(choices=([16], [64, 32])),
}


def trial(loss, family="mlp", **more):
    parameters = {"learning_rate": 0.01, "hidden": (64, 32)}
    return Trial(family, parameters, loss, 0.1, **more)


def plan(families=("mlp", "linear"), trials=12, **more):
    target = Target("binary", ("a", "b"))
    requests = {
        name: FitRequest(name, LAYOUT, target, defaults_of(name), 0, ".") for name in families
    }
    spaces = {"mlp": SPACE, "linear": {"weight_decay": RangeSpec(low=0, high=1)}}
    chosen = {name: spaces[name] for name in families}
    return SearchPlan(requests, chosen, (), trials, None, True, seed=more.get("seed", 0))


# --- spaces ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "space",
    [
        {"hidden": {"choices": [["wide"]]}},
        {"dropout": {"low": 0.0, "high": 1.5}},
        {"leaves": {"low": 4, "high": 8, "integer": True}},
    ],
)
def test_a_space_with_a_forbidden_value_is_refused_before_any_trial(space):
    with pytest.raises(TrainingError, match=r"search\.space"):
        check_space("mlp", SearchSpec.model_validate({"space": space}))


def test_values_are_inside_a_space_or_not():
    assert is_inside(SPACE, {"learning_rate": 0.01, "hidden": (64, 32)})
    assert not is_inside(SPACE, {"learning_rate": 0.5, "hidden": (16,)})
    assert not is_inside(SPACE, {"learning_rate": 0.01, "hidden": (17,)})
    assert not is_inside(SPACE, {"hidden": (16,)})


def test_the_best_trial_is_the_first_with_the_lowest_loss_that_came_to_its_end():
    trials = (trial(0.5), trial(None), trial(0.1, pruned=True), trial(0.2), trial(0.2, "linear"))
    best = best_of(trials)
    assert best is trials[3]
    assert best_of((trial(None), trial(0.1, pruned=True))) is None


# --- families -------------------------------------------------------------------------------------


def test_every_built_in_space_and_first_draw_is_one_its_family_takes():
    assert set(SPACES) == set(FAMILY_DEFAULTS)
    for family, space in SPACES.items():
        check_space(family, SearchSpec.model_validate({"space": dict(space)}))
    for draw in FIRST:
        assert is_inside(SPACES[draw.family], draw.parameters), draw
        ParametersSpec.model_validate(validated(draw.parameters))


def test_families_suit_the_data():
    small = choose_families(LAYOUT, 800, 5, 200.0, ())
    large = choose_families(LAYOUT, 400_000, 1, 200.0, ())
    wide = choose_families(replace(LAYOUT, text=5000), 800, 5, 200.0, ())
    picture = choose_families(Layout((0.0,) * 64, (1.0,) * 64), 800, 5, 200.0, ())
    assert set(small) == {"gradient-boosting", "extra-trees", "linear", "mlp", "ft-transformer"}
    assert set(large) == {"gradient-boosting", "linear", "mlp"}
    assert "gradient-boosting" not in wide
    assert picture == ("cnn",)
    assert choose_families(LAYOUT, 800, 5, 200.0, ("linear",)) == ("linear",)
    assert {draw.family for draw in first_draws(small)} == set(small)


# --- draws ----------------------------------------------------------------------------------------


def losses_of(drawn: Draw) -> float:
    return 0.1 if drawn.family == "linear" else float(np.log10(drawn.parameters["learning_rate"]))


def test_draws_are_the_same_for_one_that_was_cut_off():
    whole, told = Draws(plan()), []
    for number in range(20):
        draw = whole.ask(number)
        told.append(Trial(draw.family, draw.parameters, losses_of(draw), 0.1))
        whole.tell(told[-1])
    resumed = Draws(plan())
    for one in told[:13]:
        resumed.tell(one)
    for number in range(13, 20):
        draw = resumed.ask(number)
        assert draw == Draw(told[number].family, told[number].parameters)
        resumed.tell(told[number])


def test_draws_learn_where_the_loss_is_low():
    draws, losses = Draws(plan()), []
    for number in range(60):
        draw = draws.ask(number)
        losses.append(losses_of(draw))
        draws.tell(Trial(draw.family, draw.parameters, losses[-1], 0.1))
    assert np.mean(losses[-15:]) < np.mean(losses[:15]) - 0.5


def test_what_lies_outside_a_space_and_what_diverged_is_told_without_harm():
    draws = Draws(plan())
    draws.tell(Trial("mlp", {"learning_rate": 5.0, "hidden": (16,)}, 0.1, 0.1))
    draws.tell(Trial("mlp", {"learning_rate": 0.01, "hidden": (17,)}, 0.1, 0.1))
    draws.tell(Trial("mlp", {"learning_rate": 0.01, "hidden": (16,)}, None, 0.1))
    assert draws.ask(3).family in ("mlp", "linear")


# --- the journal ----------------------------------------------------------------------------------


def test_a_journal_remembers_each_trial_once_and_survives_a_torn_line(tmp_path):
    journal = SearchJournal(tmp_path, plan(), "rows")
    journal.add(0, trial(0.5, rounds=(3, 4), scores="scores/0.npy"), 2.0)
    journal.add(2, trial(None), 3.5)
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"number": 3, "seco')
    again = SearchJournal(tmp_path, plan(), "rows")
    assert list(again.trials) == [0, 2]
    assert again.trials[0].rounds == (3, 4)
    assert again.seconds == 3.5


@pytest.mark.parametrize("other", ["seed", "rows"])
def test_a_journal_of_another_search_is_begun_anew(tmp_path, other):
    SearchJournal(tmp_path, plan(), "rows").add(0, trial(0.5), 1.0)
    asked = plan(seed=1) if other == "seed" else plan()
    again = SearchJournal(tmp_path, asked, "other rows" if other == "rows" else "rows")
    assert again.trials == {}
    again.add(0, trial(0.4), 1.0)
    assert len((tmp_path / JOURNAL).read_text().splitlines()) == 2


# --- earlier searches -----------------------------------------------------------------------------


def test_a_warm_start_tries_the_best_of_earlier_searches(tmp_path):
    best = replace(trial(0.1), parameters={"learning_rate": 0.02, "hidden": (16,)})
    trials = (trial(0.5), trial(0.4), best, trial(0.01, pruned=True))
    remember(tmp_path, "demo", "v1", SearchResult(trials[2], trials))
    remember(tmp_path, "demo", "v1", SearchResult(trials[2], trials))
    found = best_draws(tmp_path, "demo", {"mlp": SPACE})
    assert [draw.parameters["hidden"] for draw in found] == [(64, 32), (16,)]
    assert best_draws(tmp_path, "demo", {"linear": {}}) == ()
    assert best_draws(tmp_path, "other", {"mlp": SPACE}) == ()
    lines = (tmp_path / "studies" / "demo.jsonl").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 3
    assert json.loads(lines[0])["data"] == "v1"
