"""What training made: the fitted members, how they answer together, and how they came to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from agentloop.training.families import family_of
from agentloop.training.fits import FitRequest, Fitted, Predictor
from agentloop.training.search_space import SearchResult

if TYPE_CHECKING:
    from agentloop.training.calibration import Calibration
    from agentloop.training.head import Head


@dataclass(frozen=True, slots=True)
class Member:
    """One fitted model of those that answer together; the weights of all sum to 1."""

    family: str
    parameters: Mapping[str, Any]
    seed: int
    fitted: Fitted
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """``family`` is the one asked for; ``search`` how the members' parameters were found, where
    they were; ``workers`` is 0 for the calling process."""

    family: str
    members: tuple[Member, ...]
    head: Head
    search: SearchResult | None = None
    calibration: Calibration | None = None
    workers: int = 0


def load_members(
    trained: TrainedModel, request: FitRequest
) -> tuple[tuple[Predictor, float], ...]:
    """Each member ready to answer, with its weight. ``request`` tells the layout and target."""
    from dataclasses import replace

    return tuple(
        (
            family_of(member.family).load(
                replace(
                    request, family=member.family, parameters=member.parameters, seed=member.seed
                ),
                member.fitted.weights,
            ),
            member.weight,
        )
        for member in trained.members
    )


def raw_of(
    members: Sequence[tuple[Predictor, float]], features: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """The members' weighted raw scores, float32 (rows, outputs)."""
    total = sum(weight * member.raw(features).astype(np.float64) for member, weight in members)
    return np.asarray(total, np.float32)
