"""The nouns of a fit, without torch: what is asked for and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentloop.training.dataset import Target

State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FitRequest:
    """All that decides a fit but its data. Equal requests give equal weights on one process."""

    family: str
    inputs: int
    target: Target
    parameters: Mapping[str, Any]
    seed: int
    base_dir: str
    use_gpu: bool = False

    @property
    def fingerprint(self) -> str:
        """Tells a checkpoint of this request from one of another."""
        return repr((self.family, self.inputs, self.target, self.seed, dict(self.parameters)))


@dataclass(frozen=True, slots=True)
class Epoch:
    """Mean losses of one pass over the data (nats, or squared standard deviations)."""

    train_loss: float
    val_loss: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """``weights`` are those of the epoch with the lowest validation loss (from 1)."""

    weights: State
    history: tuple[Epoch, ...]
    best_epoch: int
    best_loss: float
