"""The nouns of a fit, without torch: what is asked for and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from agentloop.contracts.models import Task
from agentloop.lifecycle.feature_layout import Layout

# Named arrays or tensors: never code, so that nothing has to be unpickled.
State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """What is predicted: ``classes`` (sorted labels), or a value's ``mean`` and ``scale``."""

    task: Task
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0

    @property
    def outputs(self) -> int:
        """Columns of the model's output."""
        return len(self.classes) or 1


@dataclass(frozen=True, slots=True)
class Part:
    """``features``: float32 (rows, width). ``targets``: int64 (rows,) positions in the classes,
    or float64 (rows,) values for regression."""

    features: npt.NDArray[np.float32]
    targets: npt.NDArray[Any]

    def rows(self, positions: npt.NDArray[np.int64]) -> Part:
        return Part(self.features[positions], self.targets[positions])


@dataclass(frozen=True, slots=True)
class Fold:
    """Rows of a training ``Part`` (int64 positions): ``fit`` trains, ``tune`` stops and
    selects. No row is in both."""

    fit: npt.NDArray[np.int64]
    tune: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FitRequest:
    """All that decides a fit but its data. Equal requests give equal weights on one process.

    ``parameters`` has every parameter of the family (``parameters_of``).
    """

    family: str
    layout: Layout
    target: Target
    parameters: Mapping[str, Any]
    seed: int
    base_dir: str
    use_gpu: bool = False
    precision: str = "auto"

    @property
    def inputs(self) -> int:
        return self.layout.width

    @property
    def fingerprint(self) -> str:
        """Tells a checkpoint of this request from one of another."""
        plain = {name: _plain(value) for name, value in sorted(self.parameters.items())}
        return repr((self.family, self.layout, self.target, self.seed, self.precision, plain))

    def with_parameters(self, **parameters: Any) -> FitRequest:
        return replace(self, parameters={**self.parameters, **parameters})


@dataclass(frozen=True, slots=True)
class Epoch:
    """Mean losses of one pass over the data, or of one more tree (nats, or squared standard
    deviations). ``val_loss`` is NaN where there are no rows to validate on."""

    train_loss: float
    val_loss: float
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Fitted:
    """``weights`` are those of the epoch with the lowest validation loss (from 1), or of the last
    epoch where there was no validation."""

    weights: State
    history: tuple[Epoch, ...]
    best_epoch: int
    best_loss: float


class Surroundings(Protocol):
    """Where a fit runs: how many processes share it, the ``threads`` that each may use (0: the
    family chooses), and where its checkpoints go. ``rows`` is how many rows all processes train
    on, where each was given its own alone; None where each was given all."""

    rank: int
    world: int
    threads: int
    rows: int | None

    def wrap(self, model: Any) -> Any:
        """``model``, made to average its gradients over the processes."""

    def mean(self, value: float) -> float:
        """The mean of ``value`` over the processes: the same number in each."""

    def save(self, state: State, metrics: dict[str, float], epoch: int, last: bool) -> None:
        """Keep ``state``, if it is time. Called by every process after every epoch."""

    def restore(self) -> State | None:
        """The newest kept state of an earlier attempt, if any."""


class Alone:
    """One process, no checkpoints: a search trial, a refit. ``report``, if given, is told the
    number of epochs done and the validation loss after each; it may raise to end the fit."""

    rank = 0
    world = 1
    rows: int | None = None

    def __init__(
        self, report: Callable[[int, float], None] | None = None, threads: int = 0
    ) -> None:
        self._report = report
        self.threads = threads

    def wrap(self, model: Any) -> Any:
        return model

    def mean(self, value: float) -> float:
        return value

    def save(self, state: State, metrics: dict[str, float], epoch: int, last: bool) -> None:
        if self._report is not None:
            self._report(epoch, metrics["val_loss"])

    def restore(self) -> State | None:
        return None


class Predictor(Protocol):
    """A fitted model on the CPU. Raw scores are logits of the classes (any offset), or the value
    in standard deviations from the mean of the target."""

    def raw(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """float32 (rows, outputs) from float32 (rows, width)."""

    def export(self, path: Path) -> None:
        """Write an ONNX graph ``features`` float32 (rows, width) -> ``raw`` float32 (rows,
        outputs); the same weights give the same bytes. Raises TrainingError."""


class Family(Protocol):
    """A way to fit and to load one kind of model."""

    def check(self, request: FitRequest) -> None:
        """Raises TrainingError where the request can not be fitted, before anything starts."""

    def fit(
        self, request: FitRequest, train: Part, tune: Part | None, around: Surroundings
    ) -> Fitted:
        """Fit on ``train``; ``tune`` stops and selects. Without it all epochs (or trees) are used.
        Raises TrainingDiverged when a loss is not finite, TrainingError."""

    def load(self, request: FitRequest, weights: State) -> Predictor:
        """The fitted model. Raises TrainingError for weights of another one."""


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
