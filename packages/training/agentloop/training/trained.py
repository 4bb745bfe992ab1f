"""What training made: the fitted members, how they answer together, and how they came to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    they were; ``workers`` is 0 for the calling process. ``refit`` says that the members were fitted
    on the whole training split, for as many epochs (or trees) as did best on its folds; then
    ``validation`` measures the folds' models on the rows that they had not seen.
    """

    family: str
    members: tuple[Member, ...]
    head: Head
    search: SearchResult | None = None
    calibration: Calibration | None = None
    workers: int = 0
    refit: bool = False
    validation: Mapping[str, float] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, Any]:
        """Those of the one member, or of all, so that equal ones mean the same model."""
        if len(self.members) == 1 and self.family == self.members[0].family:
            return dict(self.members[0].parameters)
        return {"members": [[m.family, dict(m.parameters), m.weight] for m in self.members]}


Weighted = tuple[tuple[Predictor, float], ...]


def load_members(members: Sequence[Member], request: FitRequest) -> Weighted:
    """Each member ready to answer, with its weight. ``request`` tells the layout and target."""
    return tuple((load_member(member, request), member.weight) for member in members)


def load_member(member: Member, request: FitRequest) -> Predictor:
    asked = replace(request, family=member.family, parameters=member.parameters, seed=member.seed)
    return family_of(member.family).load(asked, member.fitted.weights)


def raw_of(
    members: Sequence[tuple[Predictor, float]], features: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """The members' weighted raw scores, float32 (rows, outputs)."""
    total = sum(weight * member.raw(features).astype(np.float64) for member, weight in members)
    return np.asarray(total, np.float32)
