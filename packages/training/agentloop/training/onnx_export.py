"""The served artefact: one ONNX graph from feature matrix to scores, checked against torch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.errors import TrainingError
from agentloop.training.torch_loop import scores_of

OPSET = 17
MAX_DIFFERENCE = 1e-5


def export_onnx(model: Any, width: int, path: Path) -> None:
    """Write ``model`` (a ServedModel): ``features`` float32 (rows, width) → ``scores`` float32.

    The same weights give the same bytes. Raises TrainingError for a layer ONNX cannot express.
    """
    import torch

    example = torch.zeros(2, width)
    rows = {0: "rows"}
    try:
        with warnings.catch_warnings():
            # The tracing exporter needs no onnxscript, takes 0.3 s and is deterministic.
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(
                model.eval(),
                (example,),
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=["features"],
                output_names=["scores"],
                dynamic_axes={"features": rows, "scores": rows},
            )
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise TrainingError(f"the model cannot be written as ONNX: {first}") from error


def run_onnx(path: Path, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The graph's scores, float32 (rows, outputs), computed as serving computes them."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    scores: npt.NDArray[np.float32] = session.run(["scores"], {"features": features})[0]
    return scores


def check_parity(model: Any, path: Path, features: npt.NDArray[np.float32]) -> float:
    """The largest difference between the graph and torch on ``features``, relative to scores
    above 1. Raises TrainingError beyond ``MAX_DIFFERENCE``."""
    expected, exported = scores_of(model, features), run_onnx(path, features)
    if expected.shape != exported.shape:
        raise TrainingError(
            f"the exported model answers {exported.shape} where torch answers {expected.shape}"
        )
    scale = np.maximum(np.abs(expected), 1.0)
    difference = float((np.abs(expected - exported) / scale).max())
    if not difference <= MAX_DIFFERENCE:
        raise TrainingError(
            f"the exported model differs from the trained one by {difference:.2g} "
            f"(at most {MAX_DIFFERENCE:g})"
        )
    return difference
