import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agentloop.contracts import ColumnSchema, DataSchema, from_dict, to_dict
from agentloop.lifecycle import ReferenceProfile, build_reference

SCHEMA = DataSchema(
    (ColumnSchema("x", "number"), ColumnSchema("colour", "category"), ColumnSchema("y", "number")),
    target="y",
)


def built(x=None, regression=False):
    x = np.arange(1000.0) if x is None else x
    colour = np.array(["red", "blue", None, "red"] * (len(x) // 4), object)
    predictions = x if regression else colour
    return build_reference({"x": x, "colour": colour}, SCHEMA, predictions, regression)


def test_numbers_fall_in_bins_of_equal_shares_and_a_null_bin():
    x = built().columns[0]
    assert x.bins == len(x.edges) + 2
    assert set(x.counts[:-1]) == {50}
    assert x.counts[-1] == 0


def test_categories_have_a_bin_each_then_null_then_unseen():
    colour = built().columns[1]
    assert colour.categories == ("blue", "red")
    assert colour.counts == (250, 500, 250, 0)
    assert colour.fold(np.array(["green", None, "red"], object)).tolist() == [0, 1, 1, 1]


@given(arrays(float, st.integers(0, 30), elements=st.floats(allow_nan=True)))
def test_every_value_falls_in_exactly_one_bin(values):
    assert built().columns[0].fold(values).sum() == len(values)


def test_folding_the_training_data_gives_its_counts():
    x = np.random.default_rng(0).normal(size=400)
    reference = built(x).columns[0]
    assert tuple(reference.fold(x).tolist()) == reference.counts


def test_the_edge_hash_sees_bins_and_not_counts():
    same_bins = built(np.repeat(np.arange(1000.0), 4))
    assert built().edge_hash == built().edge_hash
    assert built(np.arange(1000.0) * 2).edge_hash != built().edge_hash
    assert same_bins.columns[0].counts != built().columns[0].counts


def test_predictions_are_labels_or_values():
    assert built().prediction.kind == "categorical"
    assert built(regression=True).prediction.kind == "numeric"


def test_a_column_of_nulls_or_of_one_value_has_bins():
    assert built(np.full(8, np.nan)).columns[0].counts[-1] == 8
    assert sum(built(np.ones(8)).columns[0].counts) == 8


def test_the_profile_survives_json():
    assert from_dict(ReferenceProfile, to_dict(built())) == built()
