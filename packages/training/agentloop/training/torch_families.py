"""From a request to an untrained network: a built-in layout, or a user's ``module:callable``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from agentloop.contracts.errors import TrainingError
from agentloop.contracts.spec import FAMILIES
from agentloop.lifecycle.torch_networks import BUILDERS
from agentloop.training.family_source import MEND, explained, load_callable
from agentloop.training.fits import FitRequest, State


def build_model(request: FitRequest) -> nn.Module:
    """The untrained network: float32 (rows, width) → (rows, outputs) raw scores.

    A user's module is imported from ``request.base_dir`` first. Raises TrainingError if the network
    cannot be built, or answers in another shape.
    """
    parameters, outputs = dict(request.parameters), request.target.outputs
    if request.family in FAMILIES:
        return BUILDERS[request.family](request.layout, outputs, parameters)
    with explained(request.family):
        model = user_family(request)(request.inputs, outputs, parameters)
    _check_model(request.family, model, request.inputs, outputs)
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


def restore_weights(request: FitRequest, weights: State) -> Any:
    """The trained network on the CPU, in evaluation mode."""
    model = build_model(request)
    tensors = {name: torch.as_tensor(value) for name, value in weights.items()}
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise TrainingError(
            f"family {request.family} builds another network than the one trained: {first}",
            next_step="build the same layers from the same parameters, and train them in place",
        ) from None
    return model.eval()


def check_answer(family: str, answer: Any, features: torch.Tensor, outputs: int) -> None:
    """Raises TrainingError unless ``answer`` is a number for each row and output."""
    given, wanted = tuple(features.shape), (len(features), outputs)
    if not isinstance(answer, torch.Tensor) or tuple(answer.shape) != wanted:
        shape = tuple(getattr(answer, "shape", ()))
        reason = f"family {family} answers {given} rows with shape {shape}; it must be {wanted}"
        raise TrainingError(reason, next_step=MEND)
    if not answer.is_floating_point():
        reason = f"family {family} answers with {answer.dtype}; it must be floating point"
        raise TrainingError(reason, next_step=MEND)


def _check_model(family: str, model: Any, inputs: int, outputs: int) -> None:
    if not isinstance(model, nn.Module):
        raise TrainingError(f"family {family} returned {type(model).__name__}, not a torch module")
    training = model.training
    for rows in (2, 1):
        features = torch.zeros(rows, inputs)
        with explained(family), torch.no_grad():
            answer = model.eval()(features)
        check_answer(family, answer, features, outputs)
    model.train(training)
