"""The training function: the same in a trial, in the calling process and in a DDP worker."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from agentloop.contracts.errors import TrainingDiverged
from agentloop.training.decisions import patience
from agentloop.training.fits import Epoch, FitRequest, Fitted, Part, State, Surroundings
from agentloop.training.torch_adamw import adamw
from agentloop.training.torch_families import build_model, own_loop
from agentloop.training.torch_runtime import Precision, deterministic, learning_rate, threads_for
from agentloop.training.torch_scores import ROWS_AT_ONCE, copied, loss_of, targets_of
from agentloop.training.torch_users import (
    explained_to_all,
    fit_by_user,
    gradients_explained,
    guarded,
)

# Of the loss, where there is no validation that would tell: beyond, training has diverged.
HUGE = 1e12
# Draws the order of rows: beyond all ranks.
ORDER = 1 << 30


def fit(request: FitRequest, train: Part, tune: Part | None, around: Surroundings) -> Fitted:
    """Train until the epochs are used up or the validation loss stops getting better.

    Each epoch draws its row order and dropout from (seed, epoch, rank), so that a fit resumed
    from a checkpoint ends as if it had not been cut off. Raises TrainingDiverged when a loss is
    not finite, TrainingError when a user's family cannot be trained.
    """
    with deterministic(request.seed, threads_for(request.family, around.threads)):
        loop = own_loop(request)
        if loop is not None:
            return fit_by_user(loop, request, train, tune, around)
        device = torch.device("cuda" if request.use_gpu and torch.cuda.is_available() else "cpu")
        return _Fit(request, train, tune, around, device).run()


class _Fit:
    def __init__(
        self,
        request: FitRequest,
        train: Part,
        tune: Part | None,
        around: Surroundings,
        device: Any,
    ) -> None:
        self._request, self._around, self._device = request, around, device
        parameters = request.parameters
        self._epochs: int = parameters["epochs"]
        self._patience: int = parameters.get("patience") or patience(self._epochs)
        self._accumulate: int = parameters.get("accumulate") or 1
        self._batch = max(1, math.ceil(parameters["batch_size"] / around.world))
        self._x, self._y = self._tensors(train)
        self._rows = around.rows or len(self._x)
        self._steps = max(1, math.ceil(math.ceil(self._rows / around.world) / self._batch))
        self._val = self._tensors(tune) if tune is not None else None
        self._model = build_model(request).to(device)
        self._scorer = guarded(request, self._model, around.world)
        self._ddp = around.wrap(self._scorer)
        with explained_to_all(request.family, around.world):
            self._optimizer = adamw(
                self._model.parameters(), parameters["learning_rate"], parameters["weight_decay"]
            )
        self._precision = Precision(request.precision, device.type)
        self._loss = loss_of(request)
        self._history: list[Epoch] = []
        self._best: State = {}
        self._best_epoch, self._best_loss = 0, math.inf

    def run(self) -> Fitted:
        self._load(self._around.restore())
        while not self._finished():
            started = time.monotonic()
            epoch = len(self._history)
            torch.manual_seed(_mix(self._request.seed, epoch, self._around.rank))
            train_loss, val_loss = self._train_epoch(epoch), self._validate()
            self._check(train_loss, val_loss, epoch)
            self._history.append(Epoch(train_loss, val_loss, time.monotonic() - started))
            if self._val is None or val_loss < self._best_loss:
                self._best_epoch, self._best_loss = epoch + 1, val_loss
                self._best = copied(self._model.state_dict())
            metrics = {"train_loss": train_loss, "val_loss": val_loss}
            self._around.save(self._state(), metrics, epoch + 1, self._finished())
        return Fitted(self._best, tuple(self._history), self._best_epoch, self._best_loss)

    def _finished(self) -> bool:
        epoch = len(self._history)
        waited = epoch - self._best_epoch
        return epoch >= self._epochs or (epoch > 0 and waited >= self._patience)

    def _train_epoch(self, epoch: int) -> float:
        self._ddp.train()
        losses, sizes = [], []
        for step, batch in enumerate(self._batches(epoch)):
            rate = learning_rate(
                self._request.parameters["learning_rate"],
                epoch * self._steps + step,
                self._epochs * self._steps,
            )
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            losses.append(self._step(batch))
            sizes.append(len(batch))
        total = torch.stack(losses).double() @ torch.tensor(sizes, dtype=torch.float64).to(
            self._device
        )
        return self._around.mean(float(total) / sum(sizes))

    def _step(self, batch: Any) -> Any:
        """One update, from gradients of ``accumulate`` pieces; the mean loss of the batch."""
        # Batch normalisation cannot train on one row.
        count = max(1, min(self._accumulate, len(batch) // 2))
        pieces = torch.tensor_split(batch, count) if count > 1 else (batch,)
        losses = []
        self._optimizer.zero_grad(set_to_none=True)
        for number, piece in enumerate(pieces):
            with self._alone_until(number == len(pieces) - 1):
                with self._precision.autocast():
                    loss = self._loss(self._ddp(self._x[piece]), self._y[piece])
                share = loss if count == 1 else loss * (len(piece) / len(batch))
                with gradients_explained(self._request, self._around.world):
                    self._precision.backward(share)
            losses.append(share.detach())
        self._precision.step(self._optimizer)
        return losses[0] if count == 1 else torch.stack(losses).sum()

    def _alone_until(self, last: bool) -> AbstractContextManager[Any]:
        """Workers average their gradients once an update, after its last piece."""
        if last or not hasattr(self._ddp, "no_sync"):
            return nullcontext()
        held_back: AbstractContextManager[Any] = self._ddp.no_sync()
        return held_back

    def _batches(self, epoch: int) -> Iterator[Any]:
        """This process's share of the shuffled rows. Every process gets as many batches."""
        mine = self._order(epoch)
        chunks = list(torch.split(mine, self._batch))
        if len(chunks) > 1 and len(chunks[-1]) == 1:
            chunks.pop()  # batch normalisation cannot train on one row
        return iter(chunks)

    def _order(self, epoch: int) -> Any:
        """Positions of this process's rows, shuffled; every process has as many.

        Of all rows, each ``world``-th is this process's, from its rank on.
        """
        world, rank = self._around.world, self._around.rank
        own = len(range(rank, self._rows, world))
        if self._device.type == "cpu":
            seed = [self._request.seed, epoch, *([rank] if world > 1 else [])]
            order = torch.from_numpy(np.random.default_rng(seed).permutation(own))
        else:  # drawn on the GPU, which would wait for the processor
            drawn = torch.Generator(self._device)
            drawn.manual_seed(_mix(self._request.seed, epoch, ORDER + rank))
            order = torch.randperm(own, generator=drawn, device=self._device)
        if own < math.ceil(self._rows / world):
            order = torch.cat([order, order[:1]])
        return order if self._around.rows is not None else rank + world * order

    def _validate(self) -> float:
        """The mean loss of the rows that validate, each looked at by one of the processes."""
        if self._val is None:
            return math.nan
        x, y = self._val
        world, rank = self._around.world, self._around.rank
        self._model.eval()
        total = torch.zeros((), device=self._device, dtype=torch.float64)
        with torch.no_grad(), self._precision.autocast():
            for start in range(rank * ROWS_AT_ONCE, len(x), world * ROWS_AT_ONCE):
                rows = slice(start, start + ROWS_AT_ONCE)
                total += self._loss(self._scorer(x[rows]), y[rows]).double() * len(y[rows])
        return self._around.mean(float(total)) * world / len(x)

    def _check(self, train_loss: float, val_loss: float, epoch: int) -> None:
        blind = self._val is None
        if not (math.isfinite(train_loss) and (blind or math.isfinite(val_loss))) or (
            blind and train_loss > HUGE
        ):
            rate = self._request.parameters["learning_rate"]
            raise TrainingDiverged(
                f"the loss is no longer a number in epoch {epoch + 1} (learning rate {rate:g})"
            )

    def _tensors(self, part: Part) -> tuple[Any, Any]:
        x = torch.as_tensor(part.features, dtype=torch.float32).to(self._device)
        return x, targets_of(self._request, part).to(self._device)

    def _state(self) -> State:
        return {
            "fingerprint": self._request.fingerprint,
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._precision.state(),
            "history": [[done.train_loss, done.val_loss, done.seconds] for done in self._history],
            "best": self._best,
            "best_epoch": self._best_epoch,
            "best_loss": self._best_loss,
        }

    def _load(self, state: State | None) -> None:
        if state is None or state.get("fingerprint") != self._request.fingerprint:
            return
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._precision.load(state["scaler"])
        self._history = [Epoch(*values) for values in state["history"]]
        self._best = state["best"]
        self._best_epoch, self._best_loss = state["best_epoch"], state["best_loss"]


def _mix(seed: int, epoch: int, rank: int) -> int:
    """One 63-bit seed for each (seed, epoch, rank)."""
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1, np.uint64)[0] >> 1)
