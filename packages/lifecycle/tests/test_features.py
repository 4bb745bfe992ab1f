import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agentloop.contracts import ColumnSchema, DataSchema, from_dict, to_dict
from agentloop.lifecycle import FeaturePipeline, fit_features
from agentloop.lifecycle.features import CLIP_SIGMAS, MAX_CATEGORIES

SCHEMA = DataSchema(
    (
        ColumnSchema("colour", "category"),
        ColumnSchema("x", "number"),
        ColumnSchema("note", "text"),
        ColumnSchema("y", "number"),
    ),
    target="y",
)


def columns(x, colour):
    colour = np.array(colour, object)
    return {"x": np.asarray(x, float), "colour": colour, "note": colour, "y": np.zeros(len(colour))}


def fitted():
    return fit_features(columns([0, 2, np.nan, 4], ["red", "blue", None, "red"]), SCHEMA)


def test_only_numbers_and_categories_but_the_target_are_features():
    assert fitted().names == ("x", "colour")
    assert fitted().width == 3


def test_numbers_are_scaled_and_categories_one_hot():
    matrix = fitted().transform(columns([2, 4], ["blue", "red"]))
    assert matrix.dtype == np.float32
    assert matrix[:, 0] == pytest.approx([0, 1.2247], abs=1e-4)
    assert matrix[:, 1:].tolist() == [[1, 0], [0, 1]]


def test_a_null_number_is_the_median_and_an_unseen_category_is_zeros():
    matrix = fitted().transform(columns([np.nan, 0], ["green", None]))
    assert matrix[0, 0] == 0
    assert matrix[:, 1:].tolist() == [[0, 0], [0, 0]]


@given(arrays(float, 5, elements=st.floats(allow_nan=True, allow_infinity=True)))
def test_whatever_the_number_the_matrix_is_finite_and_clipped(values):
    matrix = fitted().transform(columns(values, ["red"] * 5))
    assert np.isfinite(matrix).all()
    assert np.abs(matrix[:, 0]).max() <= CLIP_SIGMAS


def test_a_column_without_variance_or_values_does_not_divide_by_zero():
    for x in ([7.0] * 3, [np.nan] * 3):
        pipeline = fit_features(columns(x, ["red"] * 3), SCHEMA)
        assert (pipeline.transform(columns(x, ["red"] * 3))[:, 0] == 0).all()


def test_rare_categories_beyond_the_limit_are_left_out():
    names = [f"c{n:03}" for n in range(MAX_CATEGORIES + 20)]
    seen = fit_features(columns(np.zeros(2 * len(names) - 20), names + names[20:]), SCHEMA)
    assert seen.categorical[0].categories == tuple(names[20:])


def test_the_pipeline_survives_json():
    assert from_dict(FeaturePipeline, to_dict(fitted())) == fitted()


def test_infinite_numbers_are_the_clipped_ends_and_do_not_move_the_fit():
    pipeline = fit_features(columns([0, 2, 4, np.inf, -np.inf], ["red"] * 5), SCHEMA)
    assert pipeline.numeric[0].mean == 2
    ends = pipeline.transform(columns([np.inf, -np.inf, 1e308], ["red"] * 3))[:, 0]
    assert ends.tolist() == [CLIP_SIGMAS, -CLIP_SIGMAS, CLIP_SIGMAS]


def test_numbers_whose_squares_overflow_are_scaled_all_the_same():
    pipeline = fit_features(columns([1e308, -1e308, 0, 1e307], ["red"] * 4), SCHEMA)
    matrix = pipeline.transform(columns([1e308, -1e308, np.nan, 0], ["red"] * 4))
    assert np.isfinite(matrix).all()
    assert matrix[0, 0] > 1 > -1 > matrix[1, 0]


def test_categories_may_be_any_plain_value():
    odd = np.array([1, True, 2.5, float("nan"), "1"], object)
    pipeline = fit_features({**columns(np.zeros(5), ["red"] * 5), "colour": odd}, SCHEMA)
    assert pipeline.categorical[0].categories == ("1", "2.5", "True")
    ones = pipeline.transform({"x": np.zeros(5), "colour": odd})[:, 1:]
    assert ones.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_columns_of_unequal_length_are_an_error():
    with pytest.raises(ValueError, match="rows"):
        fitted().transform({"x": np.zeros(3), "colour": np.array(["red"], object)})


def test_a_missing_column_and_a_text_for_a_number_are_errors():
    with pytest.raises(KeyError):
        fitted().transform({"x": np.zeros(1)})
    with pytest.raises(ValueError):
        fitted().transform({"x": np.array(["ten"], object), "colour": np.array(["red"], object)})
