"""What turns raw scores into answers: the same for one model and for many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agentloop.contracts.models import Task


@dataclass(frozen=True, slots=True)
class Head:
    """Probabilities by a softmax of logits over ``temperature`` (Guo et al. 2017, eq. 9), or values
    in the target's unit from standard deviations."""

    task: Task
    mean: float = 0.0
    scale: float = 1.0
    temperature: float = 1.0

    def apply(self, raw: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """float32 (rows, outputs) from raw scores (rows, outputs)."""
        if self.task == "regression":
            return np.asarray(raw * self.scale + self.mean, np.float32)
        return np.asarray(softmax(raw / self.temperature), np.float32)


def softmax(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Rows that sum to 1, (rows, outputs)."""
    shifted = np.asarray(logits, np.float64) - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    total: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return total
