"""Serving's feature code gives what training's gave."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agentloop.lifecycle import CategoricalFeature, FeaturePipeline, NumericFeature, TextFeature
from agentloop.serving.replica.fast_features import FastFeatures

PIPELINE = FeaturePipeline(
    (NumericFeature("x", 1.0, 2.0, 0.5), NumericFeature("z", 0.0, -3.0, 40.0)),
    (CategoricalFeature("c", ("a", "b")), CategoricalFeature("d", ())),
    (
        TextFeature("t", "tfidf", 2, ("fan", "pump", "pump fan"), (1.5, 1.25, 2.0)),
        TextFeature("u", "hash", 1, slots=5),
    ),
)
TEXTS = st.none() | st.text() | st.lists(st.sampled_from(["pump", "Fan", "new"])).map(" ".join)
NUMBERS = st.floats(allow_infinity=False) | st.just(float("nan"))
CATEGORIES = st.sampled_from(["a", "b", "new", None])
ROWS = st.lists(st.tuples(NUMBERS, NUMBERS, CATEGORIES, TEXTS, TEXTS), min_size=1)


@given(ROWS)
def test_it_equals_the_pipeline(rows):
    columns = {
        "x": np.array([row[0] for row in rows]),
        "z": np.array([row[1] for row in rows]),
        "c": np.array([row[2] for row in rows], dtype=object),
        "t": np.array([row[3] for row in rows], dtype=object),
        "u": np.array([row[4] for row in rows], dtype=object),
        "d": np.array([None for _ in rows], dtype=object),
    }
    with np.errstate(over="ignore"):
        fast, plain = FastFeatures(PIPELINE).transform(columns), PIPELINE.transform(columns)
    np.testing.assert_array_equal(fast, plain)
    assert fast.dtype == np.float32
