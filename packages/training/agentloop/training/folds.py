"""Which training rows validate: parted by the same kind of rule as the test split was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.data import DataSchema
from agentloop.contracts.spec import SplitSpec
from agentloop.lifecycle.arrow_split import split_mask
from agentloop.training.fits import Fold

VALIDATION_SHARE = 0.2
# A seed of its own, so that the validation part does not follow the test split's pattern.
VALIDATION_SEED_OFFSET = 1_000_003


def part_training(
    training: Mapping[str, npt.NDArray[Any]],
    rows: int,
    split: SplitSpec,
    schema: DataSchema,
    seed: int,
    folds: int,
) -> tuple[Fold, ...]:
    """``folds`` ways to part the training rows (raw columns ``training``, (rows,) each)."""
    tune = split_mask(rows, SplitSpec(test=VALIDATION_SHARE, seed=seed + VALIDATION_SEED_OFFSET))
    return (Fold(np.flatnonzero(~tune), np.flatnonzero(tune)),)
