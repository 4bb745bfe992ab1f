"""Run a bundle's ONNX model on one CPU thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from agentloop.lifecycle.bundle import ModelBundle
from agentloop.serving.fast_features import FastFeatures

# 64 MB of float32: a small request of many short texts must not become gigabytes of features.
MAX_CELLS = 1 << 24


class OnnxPredictor:
    """A Predictor over a verified bundle."""

    def __init__(self, bundle: ModelBundle) -> None:
        options = onnxruntime.SessionOptions()
        # A replica is one process of a fraction of a CPU: more threads only fight each other.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(bundle.model_path), options, providers=["CPUExecutionProvider"]
        )
        self._features = FastFeatures(bundle.features)
        self._rows_at_once = max(1, MAX_CELLS // max(1, bundle.features.width))
        self._classes = np.array(bundle.signature.classes, dtype=object)
        self._regression = bundle.signature.task == "regression"

    def predict(
        self, columns: Mapping[str, npt.NDArray[Any]]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
        """Labels object (rows,) and probabilities float32 (rows, classes); for regression values
        float64 (rows,) and float32 (rows, 1)."""
        rows, step = len(next(iter(columns.values()))), self._rows_at_once
        if rows <= step:
            scores = self._scores(columns)
        else:
            parts = [
                self._scores({name: values[at : at + step] for name, values in columns.items()})
                for at in range(0, rows, step)
            ]
            scores = np.concatenate(parts)
        if self._regression:
            return scores[:, 0].astype(np.float64), scores
        return self._classes[np.argmax(scores, axis=1)], scores

    def _scores(self, columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        matrix = self._features.transform(columns)
        scores: npt.NDArray[np.float32] = self._session.run(["scores"], {"features": matrix})[0]
        return scores
