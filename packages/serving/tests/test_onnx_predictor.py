"""Large requests are answered in parts, with the same answers."""

from pathlib import Path

import numpy as np
import pytest

from agentloop.lifecycle import open_bundle
from agentloop.serving.replica import scoring
from agentloop.serving.replica.onnx_predictor import OnnxPredictor


@pytest.mark.parametrize("rows", [1, 5, 64])
def test_parts_answer_as_the_whole(make_version, monkeypatch, rows):
    bundle = open_bundle(Path(make_version(1).artifact_uri))
    columns = {
        "size": np.linspace(5, 15, rows),
        "age": np.linspace(0, 90, rows),
        "colour": np.array(["red", "blue"] * rows, object)[:rows],
    }
    labels, scores = OnnxPredictor(bundle).predict(columns)
    monkeypatch.setattr(scoring, "MAX_CELLS", 5 * bundle.features.width)
    in_parts, their_scores = OnnxPredictor(bundle).predict(columns)
    np.testing.assert_array_equal(in_parts, labels)
    np.testing.assert_allclose(their_scores, scores, rtol=1e-6)
