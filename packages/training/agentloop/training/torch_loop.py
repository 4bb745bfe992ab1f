"""The training function: the same in a trial, in the calling process and in a DDP worker."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from agentloop.contracts.errors import TrainingDiverged, TrainingError
from agentloop.training.dataset import Part
from agentloop.training.decisions import patience
from agentloop.training.fits import Epoch, FitRequest, Fitted, State
from agentloop.training.torch_families import build_model


class Surroundings(Protocol):
    """Where a fit runs: how many processes share it, and where its checkpoints go."""

    rank: int
    world: int

    def wrap(self, model: Any) -> Any:
        """``model``, made to average its gradients over the processes."""

    def mean(self, value: float) -> float:
        """The mean of ``value`` over the processes: the same number in each."""

    def save(self, state: State, metrics: dict[str, float], epoch: int, last: bool) -> None:
        """Keep ``state``, if it is time. Called by every process after every epoch."""

    def restore(self) -> State | None:
        """The newest kept state of an earlier attempt, if any."""


class Alone:
    """One process, no checkpoints: a search trial."""

    rank = 0
    world = 1

    def wrap(self, model: Any) -> Any:
        return model

    def mean(self, value: float) -> float:
        return value

    def save(self, state: State, metrics: dict[str, float], epoch: int, last: bool) -> None:
        return None

    def restore(self) -> State | None:
        return None


def fit(request: FitRequest, train: Part, tune: Part, around: Surroundings) -> Fitted:
    """Train until the epochs are used up or the validation loss stops getting better.

    Each epoch draws its row order and dropout from (seed, epoch, rank), so that a fit resumed
    from a checkpoint ends as if it had not been cut off. Raises TrainingDiverged when a loss is
    not finite, TrainingError when a user's family cannot be trained.
    """
    with deterministic(request.seed):
        device = torch.device("cuda" if request.use_gpu and torch.cuda.is_available() else "cpu")
        return _Fit(request, train, tune, around, device).run()


class _Fit:
    def __init__(
        self, request: FitRequest, train: Part, tune: Part, around: Surroundings, device: Any
    ) -> None:
        self._request, self._around, self._device = request, around, device
        parameters = dict(request.parameters)
        self._epochs: int = parameters["epochs"]
        self._batch = max(1, math.ceil(parameters["batch_size"] / around.world))
        self._x, self._y = self._tensors(train)
        self._val_x, self._val_y = self._tensors(tune)
        outputs = request.target.outputs
        model = build_model(request.family, request.inputs, outputs, parameters, request.base_dir)
        self._model = model.to(device)
        self._ddp = around.wrap(self._model)
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(),
            lr=parameters["learning_rate"],
            weight_decay=parameters["weight_decay"],
        )
        regression = request.target.task == "regression"
        self._loss: Any = nn.MSELoss() if regression else nn.CrossEntropyLoss()
        self._history: list[Epoch] = []
        self._best: State = {}
        self._best_epoch, self._best_loss = 0, math.inf

    def run(self) -> Fitted:
        self._load(self._around.restore())
        while not self._finished():
            epoch = len(self._history)
            torch.manual_seed(_mix(self._request.seed, epoch, self._around.rank))
            done = Epoch(self._train_epoch(epoch), self._validate())
            self._check(done, epoch)
            self._history.append(done)
            if done.val_loss < self._best_loss:
                self._best_epoch, self._best_loss = epoch + 1, done.val_loss
                self._best = _copy(self._model.state_dict())
            metrics = {"train_loss": done.train_loss, "val_loss": done.val_loss}
            self._around.save(self._state(), metrics, epoch + 1, self._finished())
        return Fitted(self._best, tuple(self._history), self._best_epoch, self._best_loss)

    def _finished(self) -> bool:
        epoch = len(self._history)
        waited = epoch - self._best_epoch
        return epoch >= self._epochs or (epoch > 0 and waited >= patience(self._epochs))

    def _train_epoch(self, epoch: int) -> float:
        self._ddp.train()
        total, rows = 0.0, 0
        for batch in self._batches(epoch):
            x, y = self._x[batch], self._y[batch]
            loss = self._loss(self._ddp(x), y)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._optimizer.step()
            total, rows = total + float(loss.detach()) * len(batch), rows + len(batch)
        return self._around.mean(total / rows)

    def _batches(self, epoch: int) -> Iterator[Any]:
        """This process's share of the shuffled rows. Every process gets as many batches."""
        order = np.random.default_rng([self._request.seed, epoch]).permutation(len(self._x))
        world, rank = self._around.world, self._around.rank
        padded = np.resize(order, math.ceil(len(order) / world) * world)
        mine = torch.from_numpy(padded[rank::world].copy()).to(self._device)
        chunks = list(torch.split(mine, self._batch))
        if len(chunks) > 1 and len(chunks[-1]) == 1:
            chunks.pop()  # batch normalisation cannot train on one row
        return iter(chunks)

    def _validate(self) -> float:
        self._model.eval()
        with torch.no_grad():
            loss = float(self._loss(self._model(self._val_x), self._val_y))
        return self._around.mean(loss)

    def _check(self, done: Epoch, epoch: int) -> None:
        if not (math.isfinite(done.train_loss) and math.isfinite(done.val_loss)):
            rate = self._request.parameters["learning_rate"]
            raise TrainingDiverged(
                f"the loss is no longer a number in epoch {epoch + 1} (learning rate {rate:g})"
            )

    def _tensors(self, part: Part) -> tuple[Any, Any]:
        x = torch.tensor(part.features, dtype=torch.float32, device=self._device)
        if self._request.target.task != "regression":
            return x, torch.tensor(part.targets, dtype=torch.int64, device=self._device)
        target = self._request.target
        scaled = (part.targets - target.mean) / target.scale
        return x, torch.tensor(scaled, dtype=torch.float32, device=self._device).reshape(-1, 1)

    def _state(self) -> State:
        return {
            "fingerprint": self._request.fingerprint,
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "history": [[done.train_loss, done.val_loss] for done in self._history],
            "best": self._best,
            "best_epoch": self._best_epoch,
            "best_loss": self._best_loss,
        }

    def _load(self, state: State | None) -> None:
        if state is None or state.get("fingerprint") != self._request.fingerprint:
            return
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._history = [Epoch(train, val) for train, val in state["history"]]
        self._best = state["best"]
        self._best_epoch, self._best_loss = state["best_epoch"], state["best_loss"]


def scores_of(model: Any, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(rows, outputs) from a ServedModel on the CPU."""
    model.eval()
    with torch.no_grad():
        scores: npt.NDArray[np.float32] = model(torch.tensor(features)).numpy()
    return scores


def restore_weights(request: FitRequest, weights: State) -> Any:
    """The trained network on the CPU, in evaluation mode."""
    outputs = request.target.outputs
    parameters = dict(request.parameters)
    model = build_model(request.family, request.inputs, outputs, parameters, request.base_dir)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise TrainingError(f"family {request.family} is not built alike twice: {first}") from None
    return model.eval()


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """One thread, seeded, deterministic kernels; the process's own settings come back after."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    threads = torch.get_num_threads()
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(was_deterministic)


def _mix(seed: int, epoch: int, rank: int) -> int:
    """One 63-bit seed for each (seed, epoch, rank)."""
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1, np.uint64)[0] >> 1)


def _copy(state: State) -> State:
    return {name: value.detach().cpu().clone() for name, value in state.items()}
