"""What all families of trees share: their targets, their loss, and fitted trees that answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.errors import TrainingError
from agentloop.training.fits import FitRequest, Part
from agentloop.training.head import softmax
from agentloop.training.onnx_trees import Trees, TreesInOnnx


class TreeModel:
    """Fitted trees; scored by ONNX Runtime, the way they are served. ``least_share`` as in
    ``TreesInOnnx``."""

    def __init__(self, trees: Trees, request: FitRequest, least_share: float | None = None) -> None:
        self._onnx = TreesInOnnx(trees, request.inputs, request.target.task, least_share)
        self._trees = trees

    def raw(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return self._onnx.raw(features)

    def exact(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """The same in float64, tree by tree: what the exported graph is held against."""
        return self._onnx.spread(self._trees.raw(features))

    def export(self, path: Path) -> None:
        path.write_bytes(self._onnx.serialized)


def check_columns(request: FitRequest) -> None:
    """Raises TrainingError where there is nothing to split by."""
    if request.inputs < 1:
        raise TrainingError("there is no column to split by")


def truth_of(request: FitRequest, part: Part) -> npt.NDArray[Any]:
    """Class positions, or values in standard deviations, (rows,)."""
    target = request.target
    if target.task == "regression":
        return (part.targets - target.mean) / target.scale
    return part.targets


def loss_of(request: FitRequest, raw: npt.NDArray[np.float32], part: Part) -> float:
    """Nats, or squared standard deviations."""
    truth = truth_of(request, part)
    if request.target.task == "regression":
        return float(((raw[:, 0] - truth) ** 2).mean())
    chosen = softmax(raw)[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())
