"""Model families: the built-in layouts, and a user's ``module:callable``, behind one function."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from agentloop.contracts.errors import TrainingError
from agentloop.contracts.models import Task
from agentloop.contracts.spec import FAMILIES

Family = Callable[[int, int, dict[str, Any]], Any]


def build_model(
    family: str, inputs: int, outputs: int, parameters: dict[str, Any], base_dir: str
) -> nn.Module:
    """The untrained network: float32 (rows, inputs) → (rows, outputs) raw scores.

    ``parameters`` has the keys of ``ParametersSpec``. A user's module is imported from
    ``base_dir`` first. Raises TrainingError if it cannot be built, or answers in another shape.
    """
    builders: dict[str, Family] = {"linear": _linear, "mlp": _mlp}
    if family in FAMILIES:
        model: nn.Module = builders[family](inputs, outputs, parameters)
        return model
    with _explained(family):
        model = load_callable(family, Path(base_dir))(inputs, outputs, parameters)
    _check_shape(family, model, inputs, outputs)
    return model


def load_callable(target: str, base_dir: Path) -> Family:
    """The callable ``module:name``; ``base_dir`` comes first on the path during the import."""
    module_name, name = target.split(":")
    sys.path.insert(0, str(base_dir))
    try:
        found: Family = getattr(importlib.import_module(module_name), name)
        return found
    finally:
        sys.path.remove(str(base_dir))


def family_source(family: str, base_dir: Path) -> str:
    """The text of the module a user's family is in; empty for a built-in family."""
    if family in FAMILIES:
        return ""
    with _explained(family):
        module = sys.modules[load_callable(family, base_dir).__module__]
        return Path(str(module.__file__)).read_text(encoding="utf-8")


class ServedModel(nn.Module):
    """A trained network with its head: probabilities for classes, target units for regression."""

    def __init__(self, model: nn.Module, task: Task, mean: float, scale: float) -> None:
        super().__init__()
        self.model = model
        self._task = task
        self._mean, self._scale = mean, scale

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        raw = self.model(features)
        if self._task == "regression":
            return raw * self._scale + self._mean
        return torch.softmax(raw, dim=1)


def _linear(inputs: int, outputs: int, parameters: dict[str, Any]) -> nn.Module:
    return nn.Linear(inputs, outputs)


def _mlp(inputs: int, outputs: int, parameters: dict[str, Any]) -> nn.Module:
    layers: list[Any] = []
    width = inputs
    for hidden in parameters["hidden"]:
        layers += [nn.Linear(width, hidden), nn.ReLU()]
        if parameters["dropout"]:
            layers.append(nn.Dropout(parameters["dropout"]))
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def _check_shape(family: str, model: Any, inputs: int, outputs: int) -> None:
    if not isinstance(model, nn.Module):
        raise TrainingError(f"family {family} returned {type(model).__name__}, not a torch module")
    training = model.training
    with _explained(family), torch.no_grad():
        answer = model.eval()(torch.zeros(2, inputs))
    model.train(training)
    if not isinstance(answer, torch.Tensor) or tuple(answer.shape) != (2, outputs):
        shape = tuple(getattr(answer, "shape", ()))
        raise TrainingError(
            f"family {family} answers (2, {inputs}) rows with shape {shape}; "
            f"it must be (2, {outputs})"
        )


@contextmanager
def _explained(family: str) -> Iterator[None]:
    """Whatever a user's code raises, as a TrainingError that names it."""
    try:
        yield
    except TrainingError:
        raise
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        reason = f"family {family} failed with {type(error).__name__}: {first}"
        next_step = "mend the family's code, or check model.family in loop.yaml"
        raise TrainingError(reason, next_step=next_step) from error
