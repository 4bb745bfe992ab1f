"""From a request to an untrained network: a built-in layout, or a user's ``module:callable``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from agentloop.contracts.errors import TrainingError
from agentloop.contracts.spec import FAMILIES
from agentloop.training.family_source import explained, load_callable
from agentloop.training.fits import FitRequest, Layout
from agentloop.training.torch_layers import Cnn, FtTransformer, linear, mlp

_BUILDERS: dict[str, Callable[[Layout, int, dict[str, Any]], nn.Module]] = {
    "linear": linear,
    "mlp": mlp,
    "ft-transformer": FtTransformer,
    "cnn": Cnn,
}


def build_model(request: FitRequest) -> nn.Module:
    """The untrained network: float32 (rows, width) → (rows, outputs) raw scores.

    A user's module is imported from ``request.base_dir`` first. Raises TrainingError if the network
    cannot be built, or answers in another shape.
    """
    parameters, outputs = dict(request.parameters), request.target.outputs
    if request.family in FAMILIES:
        return _BUILDERS[request.family](request.layout, outputs, parameters)
    with explained(request.family):
        model = user_family(request)(request.inputs, outputs, parameters)
    _check_shape(request.family, model, request.inputs, outputs)
    return model


def user_family(request: FitRequest) -> Any:
    """The callable of a ``module:callable`` family.

    ``callable(inputs, outputs, parameters)`` returns a torch module. If it has an attribute
    ``train``, that is its training loop: ``train(model, request, train, tune, around)`` fits the
    module in place and may return (training loss, validation loss) of each epoch.
    """
    return load_callable(request.family, Path(request.base_dir))


def own_loop(request: FitRequest) -> Callable[..., Any] | None:
    """The training loop that a user's family brings, if it does."""
    if request.family in FAMILIES:
        return None
    with explained(request.family):
        found = getattr(user_family(request), "train", None)
    return found if callable(found) else None


def _check_shape(family: str, model: Any, inputs: int, outputs: int) -> None:
    if not isinstance(model, nn.Module):
        raise TrainingError(f"family {family} returned {type(model).__name__}, not a torch module")
    training = model.training
    with explained(family), torch.no_grad():
        answer = model.eval()(torch.zeros(2, inputs))
    model.train(training)
    if not isinstance(answer, torch.Tensor) or tuple(answer.shape) != (2, outputs):
        shape = tuple(getattr(answer, "shape", ()))
        raise TrainingError(
            f"family {family} answers (2, {inputs}) rows with shape {shape}; "
            f"it must be (2, {outputs})"
        )
