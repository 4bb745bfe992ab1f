"""Run a bundle's networks with torch, on a GPU where there is one: numbers in, no code from it.

The weights are safetensors, the networks are built by the names and parameters in the recipe, and
the head's constants are those of the ONNX graph, so that both answer alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from safetensors.numpy import load_file
from torch import nn

from agentloop.contracts.errors import ArtifactUnverified, TrainingError
from agentloop.lifecycle.bundle import ModelBundle
from agentloop.lifecycle.feature_layout import layout_of
from agentloop.lifecycle.torch_networks import BUILDERS
from agentloop.serving.replica.fast_features import FastFeatures
from agentloop.serving.replica.scoring import Scorer

RECIPE, WEIGHTS = "recipe.json", "weights.safetensors"


class TorchPredictor:
    """A Predictor over a verified bundle whose members are all built-in networks.

    Raises ArtifactUnverified for a bundle that has others, or not all that is needed.
    """

    def __init__(self, bundle: ModelBundle, device: str = "cpu") -> None:
        self._device = torch.device(device)
        # Convolutions would be rounded to ten bits, and no longer answer as the validated graph.
        torch.backends.cudnn.allow_tf32 = False
        self._members = [
            (network.to(self._device), weight) for network, weight in _networks(bundle)
        ]
        constants = _head(bundle)
        self._regression = bundle.signature.task == "regression"
        self._temperature = constants.get("temperature", 1.0)
        self._mean, self._scale = constants.get("mean", 0.0), constants.get("scale", 1.0)
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
        with torch.inference_mode():
            features = torch.from_numpy(matrix).to(self._device)
            raw = sum(weight * member(features) for member, weight in self._members)
            scores: npt.NDArray[np.float32] = self._apply_head(raw).cpu().numpy()
        return scores

    def _apply_head(self, raw: Any) -> torch.Tensor:
        if self._regression:
            scaled: torch.Tensor = raw * self._scale + self._mean
            return scaled
        return torch.softmax(raw / self._temperature, dim=1)


def gpu_device() -> str | None:
    """The GPU that this process may use, if torch finds one."""
    return "cuda" if torch.cuda.is_available() else None


def _networks(bundle: ModelBundle) -> list[tuple[nn.Module, float]]:
    """The fitted members in evaluation mode, on the CPU, with their weights."""
    where = str(bundle.path)
    try:
        recipe = json.loads((bundle.path / RECIPE).read_text(encoding="utf-8"))
        members = [
            (str(m["family"]), dict(m["parameters"]), float(m["weight"])) for m in recipe["members"]
        ]
        arrays = load_file(bundle.path / WEIGHTS)
    except Exception as error:  # safetensors' own error class is not public
        raise ArtifactUnverified(where, f"its networks cannot be read ({error})") from None
    outputs = len(bundle.signature.classes) or 1
    layout = layout_of(bundle.features)
    built = []
    for number, (family, parameters, weight) in enumerate(members):
        if family not in BUILDERS:
            raise ArtifactUnverified(where, f"torch does not rebuild the family {family}")
        prefix = f"{number}."
        state = {
            name.removeprefix(prefix): torch.from_numpy(value)
            for name, value in arrays.items()
            if name.startswith(prefix)
        }
        try:
            network = BUILDERS[family](layout, outputs, parameters)
            network.load_state_dict(state)
        except (RuntimeError, KeyError, TrainingError) as error:
            reason = f"its weights are not those of its recipe ({str(error).splitlines()[0]})"
            raise ArtifactUnverified(where, reason) from None
        built.append((network.eval(), weight))
    return built


def _head(bundle: ModelBundle) -> dict[str, float]:
    """The constants of the graph's last nodes, by name."""
    graph = onnx.load(str(bundle.model_path)).graph
    wanted = ("temperature", "mean", "scale")
    return {
        constant.name: float(numpy_helper.to_array(constant))
        for constant in graph.initializer
        if constant.name in wanted
    }
