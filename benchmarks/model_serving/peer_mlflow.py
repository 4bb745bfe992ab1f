"""Write an MLflow model in the onnx flavour: peer_mlflow.py FOLDER (table | tensor)."""

from __future__ import annotations

import os
import sys

import mlflow.onnx
import numpy as np
import onnx
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

SESSION = {"intra_op_num_threads": 1, "inter_op_num_threads": 1}

if __name__ == "__main__":
    folder, kind = sys.argv[1:]
    tensor = Schema([TensorSpec(np.dtype("float32"), (-1, 30), "features")])
    table = Schema([ColSpec("double", f"x{i}") for i in range(30)])
    mlflow.onnx.save_model(
        onnx.load(os.environ["NETWORK"]),
        folder,
        pip_requirements=[],
        onnx_execution_providers=["CPUExecutionProvider"],
        onnx_session_options=SESSION,
        signature=ModelSignature(inputs=tensor if kind == "tensor" else table),
    )
