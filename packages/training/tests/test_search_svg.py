"""The picture of a search, whatever came of its trials."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any
from xml.etree import ElementTree

import pytest

from agentloop.training.search_space import SearchResult, Trial
from agentloop.training.search_svg import parameter_axes, search_plot


def trial(loss: float | None, family: str = "mlp", pruned: bool = False, **values: Any) -> Trial:
    return Trial(family, values, loss, 1.0, pruned=pruned)


def drawn(*trials: Trial) -> Counter[str]:
    """How many marks of each class the picture has; it has to be well formed."""
    picture = search_plot(SearchResult(trials[0], trials))
    assert not re.search(r"\b(nan|inf)\b", picture)
    classes = (node.get("class", "") for node in ElementTree.fromstring(picture).iter())
    return Counter(name for name in classes if name)


def test_each_trial_is_marked_by_how_it_ended() -> None:
    trials = [trial(0.5), trial(0.4, "linear"), trial(0.6, pruned=True), trial(None)]
    assert drawn(*trials) == {"finished": 2, "pruned": 1, "diverged": 1, "best": 1}


@pytest.mark.parametrize(
    "trials",
    [
        [trial(0.3, hidden=(64,))],
        [trial(None, hidden=(64,)), trial(None, hidden=(8, 8))],
        [trial(float("nan")), trial(float("inf")), trial(None, pruned=True)],
        [trial(0.0), trial(0.0)],
        [trial(1e300), trial(-1e300), trial(1e308)],
    ],
)
def test_any_search_has_a_picture(trials: list[Trial]) -> None:
    assert sum(drawn(*trials).values()) >= len(trials)


def test_the_best_so_far_only_falls() -> None:
    trials = (trial(0.5), trial(0.7), trial(0.1, pruned=True), trial(0.3))
    root = ElementTree.fromstring(search_plot(SearchResult(trials[3], trials)))
    line = next(node for node in root.iter() if node.get("class") == "best").get("points", "")
    heights = [float(point.split(",")[1]) for point in line.split()]
    assert heights[0] == heights[1] < heights[2] == heights[3]


def test_a_huge_loss_does_not_flatten_the_others() -> None:
    trials = [trial(0.3 + n / 100) for n in range(12)] + [trial(4e9)]
    marks = drawn(*trials)
    # The last of the usual ones goes with it: nine in ten are kept.
    assert marks["finished clipped"] in (1, 2)
    assert marks["finished"] + marks["finished clipped"] == 13
    assert drawn(trial(0.3), trial(4e9))["finished clipped"] == 1


def test_only_parameters_that_differ_get_an_axis() -> None:
    rates = [1e-4, 1e-3, 1e-1]
    trials = [trial(0.5, learning_rate=rate, epochs=30) for rate in rates]
    (axis,) = parameter_axes(trials)
    assert axis.name == "learning_rate (log)"
    assert axis.edges == pytest.approx((-4, -1))
    assert [text for _, text in axis.labels] == ["0.0001", "0.001", "0.01", "0.1"]


def test_values_that_are_no_numbers_get_a_place_each() -> None:
    trials = [trial(0.5, hidden=h) for h in ([64], (32, 32), (64,), None)]
    (axis,) = parameter_axes(trials)
    assert axis.places[0] == axis.places[2]
    assert len(set(axis.places)) == 3
    assert {text for _, text in axis.labels} <= {"64", "32x32", "None"}


def test_small_spans_and_zeros_stay_linear() -> None:
    trials = [trial(0.5, dropout=d, leaves=n) for d, n in ((0.0, 16), (0.5, 64), (0.25, 31))]
    assert [axis.name for axis in parameter_axes(trials)] == ["dropout", "leaves"]


def test_names_are_escaped() -> None:
    marks = drawn(trial(0.5, "my<&>:net", x="<"), trial(0.4, "my<&>:net", x="&"))
    assert marks["finished"] == 2 + 2  # above, and in the panel of x
