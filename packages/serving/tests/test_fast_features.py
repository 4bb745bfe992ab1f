"""Serving's feature code gives what training's gave."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agentloop.lifecycle import CategoricalFeature, FeaturePipeline, NumericFeature
from agentloop.serving.fast_features import FastFeatures

PIPELINE = FeaturePipeline(
    (NumericFeature("x", 1.0, 2.0, 0.5), NumericFeature("z", 0.0, -3.0, 40.0)),
    (CategoricalFeature("c", ("a", "b")), CategoricalFeature("d", ())),
)
NUMBERS = st.floats(allow_infinity=False) | st.just(float("nan"))
ROWS = st.lists(st.tuples(NUMBERS, NUMBERS, st.sampled_from(["a", "b", "new", None])), min_size=1)


@given(ROWS)
def test_it_equals_the_pipeline(rows):
    columns = {
        "x": np.array([row[0] for row in rows]),
        "z": np.array([row[1] for row in rows]),
        "c": np.array([row[2] for row in rows], dtype=object),
        "d": np.array([None for _ in rows], dtype=object),
    }
    with np.errstate(over="ignore"):
        fast, plain = FastFeatures(PIPELINE).transform(columns), PIPELINE.transform(columns)
    np.testing.assert_array_equal(fast, plain)
    assert fast.dtype == np.float32
