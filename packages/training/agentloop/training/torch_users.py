"""A user's network and training loop: what they raise and answer is checked where it happens."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from agentloop.contracts.errors import TrainingDiverged, TrainingError
from agentloop.contracts.spec import FAMILIES
from agentloop.training.family_source import explained
from agentloop.training.fits import Epoch, FitRequest, Fitted, Part, State, Surroundings
from agentloop.training.torch_families import build_model, check_answer, restore_weights
from agentloop.training.torch_scores import (
    copied,
    loss_of,
    raw_scores,
    targets_of,
)


def guarded(request: FitRequest, model: nn.Module, world: int) -> nn.Module:
    """``model``, whose errors name the family if it is a user's."""
    return model if request.family in FAMILIES else Guarded(request, model, world)


def gradients_explained(request: FitRequest, world: int) -> AbstractContextManager[None]:
    """Around the backward pass of a user's network. Not where workers average their gradients in
    it: a worker that is gone raises there too, and is replaced."""
    ours = request.family in FAMILIES or world > 1
    return nullcontext() if ours else explained(request.family)


class Guarded(nn.Module):
    """A user's network that raises, or answers in another shape, ends the fit with a reason."""

    def __init__(self, request: FitRequest, model: nn.Module, world: int) -> None:
        super().__init__()
        self.model = model
        self._family, self._outputs, self._world = request.family, request.target.outputs, world

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        with explained_to_all(self._family, self._world):
            answer: torch.Tensor = self.model(features)
            check_answer(self._family, answer, features, self._outputs)
            return answer


@contextmanager
def explained_to_all(
    family: str, world: int, passes: Callable[[Exception], bool] = lambda error: False
) -> Iterator[None]:
    """``explained``; but where several processes share the fit, as a plain RuntimeError.

    A typed error is one worker's answer, and the others would wait for it in their next step; a
    plain one ends them all.
    """
    try:
        with explained(family, passes):
            yield
    except TrainingError as error:
        if world == 1 or passes(error):
            raise
        raise RuntimeError(error.reason) from error


class Watched:
    """The surroundings a user's loop is given. They remember what they raised: a search that
    prunes, or a disk that is full, is no mistake in the user's code."""

    def __init__(self, family: str, around: Surroundings) -> None:
        self._family, self._around = family, around
        self._raised: Exception | None = None
        self.rank, self.world, self.threads = around.rank, around.world, around.threads
        self.rows = around.rows

    def raised(self, error: Exception) -> bool:
        return error is self._raised

    def wrap(self, model: Any) -> Any:
        return self._noted(self._around.wrap, model)

    def mean(self, value: float) -> float:
        return float(self._noted(self._around.mean, value))

    def save(self, state: State, metrics: dict[str, float], epoch: int, last: bool) -> None:
        if "val_loss" not in metrics:
            raise TrainingError(f"family {self._family} saves an epoch without its val_loss")
        self._noted(self._around.save, state, metrics, epoch, last)

    def restore(self) -> State | None:
        state: State | None = self._noted(self._around.restore)
        return state

    def _noted(self, method: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except Exception as error:
            self._raised = error
            raise


def fit_by_user(
    loop: Any, request: FitRequest, train: Part, tune: Part | None, around: Surroundings
) -> Fitted:
    """A user's own training loop; its network is judged by the same loss as all others.

    Judged is the network that its weights make when they are loaded again, wherever and however
    the loop left the one it was given.
    """
    model, watched = build_model(request), Watched(request.family, around)
    started = time.monotonic()
    with explained_to_all(request.family, around.world, watched.raised):
        told = loop(model, request, train, tune, watched) or ()
        losses = [(float(train_loss), float(val_loss)) for train_loss, val_loss in told]
        weights = copied(model.state_dict())
    seconds = (time.monotonic() - started) / max(len(losses), 1)
    history = tuple(Epoch(*both, seconds) for both in losses)
    loss = _judged(request, weights, train if tune is None else tune)
    return Fitted(weights, history, len(history), math.nan if tune is None else loss)


def _judged(request: FitRequest, weights: State, part: Part) -> float:
    """The mean loss on ``part``. Raises TrainingDiverged where it is not finite."""
    model = restore_weights(request, weights)
    with explained(request.family):
        raw = torch.as_tensor(raw_scores(model, part.features))
    loss = float(loss_of(request)(raw, targets_of(request, part)))
    if not math.isfinite(loss):
        raise TrainingDiverged(f"family {request.family} answers with what is no number")
    return loss
