"""What a network answers, and how far that is from the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from agentloop.training.fits import FitRequest, Part, State

ROWS_AT_ONCE = 4096


def loss_of(request: FitRequest) -> Any:
    """Mean squared standard deviations, or cross-entropy in nats."""
    return nn.MSELoss() if request.target.task == "regression" else nn.CrossEntropyLoss()


def targets_of(request: FitRequest, part: Part) -> torch.Tensor:
    """int64 (rows,), or float32 (rows, 1) standardised values."""
    target = request.target
    if target.task != "regression":
        return torch.as_tensor(part.targets, dtype=torch.int64)
    scaled = ((part.targets - target.mean) / target.scale).reshape(-1, 1)
    return torch.as_tensor(scaled, dtype=torch.float32)


def raw_scores(model: Any, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """float32 (rows, outputs) from a network on the CPU, some thousand rows at a time."""
    model.eval()
    with torch.no_grad():
        found = [
            model(torch.as_tensor(features[start : start + ROWS_AT_ONCE])).numpy()
            for start in range(0, max(len(features), 1), ROWS_AT_ONCE)
        ]
    return np.concatenate(found)


def copied(state: State) -> State:
    """The tensors of ``state``, on the CPU and shared with nobody."""
    return {name: value.detach().cpu().clone() for name, value in state.items()}
