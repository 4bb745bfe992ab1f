"""Run a bundle's ONNX model on one CPU thread, or on a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from agentloop.lifecycle.bundle import ModelBundle
from agentloop.serving.replica.fast_features import FastFeatures
from agentloop.serving.replica.scoring import Scorer

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class OnnxPredictor:
    """A Predictor over a verified bundle."""

    def __init__(self, bundle: ModelBundle, providers: Sequence[str] = (CPU,)) -> None:
        options = onnxruntime.SessionOptions()
        # A replica is one process of a fraction of a CPU: more threads only fight each other.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(bundle.model_path), options, providers=list(providers)
        )
        self._features = FastFeatures(bundle.features)
        self._scorer = Scorer(bundle, self._scores)

    def predict(
        self, columns: Mapping[str, npt.NDArray[Any]]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
        """Labels object (rows,) and probabilities float32 (rows, classes); for regression values
        float64 (rows,) and float32 (rows, 1)."""
        return self._scorer.predict(columns)

    def _scores(self, columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        matrix = self._features.transform(columns)
        scores: npt.NDArray[np.float32] = self._session.run(["scores"], {"features": matrix})[0]
        return scores


def has_cuda() -> bool:
    """Whether this build of ONNX Runtime can use a GPU."""
    return CUDA in onnxruntime.get_available_providers()
