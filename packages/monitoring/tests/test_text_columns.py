"""A model that reads text is watched by how many words its requests have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agentloop.contracts import ColumnSchema, DataSchema
from agentloop.lifecycle import ReferenceProfile, build_reference
from agentloop.monitoring.bets import column_bets
from agentloop.monitoring.folding import Folder

SCHEMA = DataSchema(
    (ColumnSchema("x", "number"), ColumnSchema("note", "text"), ColumnSchema("y", "category")), "y"
)


def columns(rows: int, words: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    notes = np.array(["word " * n for n in rng.integers(1, words, rows)], object)
    return {"x": rng.normal(size=rows), "note": notes}


@pytest.fixture(scope="module")
def profile() -> ReferenceProfile:
    labels = np.array(["a", "b"] * 500, object)
    return build_reference(columns(1000, 20), SCHEMA, labels, text=["note"])


@pytest.mark.parametrize("step", [1, 7])
def test_requests_fold_into_the_same_counts_as_one_pass(
    profile: ReferenceProfile, step: int
) -> None:
    live = columns(70, 20, seed=1)
    live["note"][::9] = None
    labels = np.array(["a"] * 70, object)
    folder = Folder(profile)
    answers = [
        ({name: values[at : at + step] for name, values in live.items()}, labels[at : at + step])
        for at in range(0, 70, step)
    ]
    counts, rows = folder.fold(answers)
    assert rows == 70
    np.testing.assert_array_equal(counts, folder.layout.fold(live, labels))
    assert counts[profile.columns[0].bins :][profile.columns[1].bins - 1] == 8


def test_other_bins_have_another_hash(profile: ReferenceProfile) -> None:
    labels = np.array(["a", "b"] * 500, object)
    without = build_reference(columns(1000, 20), SCHEMA, labels)
    longer = build_reference(columns(1000, 90), SCHEMA, labels, text=["note"])
    assert len({profile.edge_hash, without.edge_hash, longer.edge_hash}) == 3


def test_the_words_have_a_rank_to_bet_on(profile: ReferenceProfile) -> None:
    note = profile.columns[1]
    assert note.kind == "text"
    # One-bin bets alone are two directions of each share; rank and spread add more.
    assert len(column_bets(note).weights) > len(column_bets(profile.prediction).weights)
