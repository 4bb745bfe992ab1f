"""Networks behind the family port: built, fitted, loaded and exported with torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.training.fits import FitRequest, Fitted, Part, Predictor, State, Surroundings
from agentloop.training.torch_export import export_network
from agentloop.training.torch_families import build_model, restore_weights
from agentloop.training.torch_loop import fit
from agentloop.training.torch_scores import raw_scores


class Networks:
    """Every family that torch fits, a user's own included."""

    def check(self, request: FitRequest) -> None:
        build_model(request)

    def fit(
        self, request: FitRequest, train: Part, tune: Part | None, around: Surroundings
    ) -> Fitted:
        return fit(request, train, tune, around)

    def load(self, request: FitRequest, weights: State) -> Predictor:
        return Network(restore_weights(request, weights), request.inputs)


class Network:
    """A fitted network on the CPU."""

    def __init__(self, model: Any, width: int) -> None:
        self._model, self._width = model, width

    def raw(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return raw_scores(self._model, features)

    def export(self, path: Path) -> None:
        export_network(self._model, self._width, path)


FAMILY = Networks()
