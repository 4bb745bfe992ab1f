"""A trained network as an ONNX graph."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from agentloop.contracts.errors import TrainingError

OPSET = 17


def export_network(model: Any, width: int, path: Path) -> None:
    """Write ``features`` float32 (rows, width) → ``raw`` float32 (rows, outputs).

    The same weights give the same bytes. Raises TrainingError for a layer ONNX cannot express.
    """
    import torch

    rows = {0: "rows"}
    try:
        with warnings.catch_warnings():
            # The tracing exporter needs no onnxscript, takes 0.3 s and is deterministic.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model.eval(),
                (torch.zeros(2, width),),
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=["features"],
                output_names=["raw"],
                dynamic_axes={"features": rows, "raw": rows},
            )
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise TrainingError(
            f"the model cannot be written as ONNX: {first}",
            next_step=f"build it of layers that the ONNX exporter of torch knows (opset {OPSET})",
        ) from error
