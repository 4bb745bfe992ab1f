"""The network as peers run it: ONNX Runtime on one thread. Needs onnxruntime and numpy alone."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnxruntime


class Network:
    """Loads ``$NETWORK``, the 30-64-2 network with its scaling folded into the first layer."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            os.environ["NETWORK"], options, providers=["CPUExecutionProvider"]
        )

    def scores(self, rows: Any) -> np.ndarray:
        """float32 (rows, 2) of rows (rows, 30)."""
        matrix = np.asarray(rows, np.float32)
        return self._session.run(["scores"], {"features": matrix})[0]
