"""A search as data: what is tried first, what is drawn afterwards, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from agentloop.contracts.errors import TrainingError
from agentloop.contracts.spec import ChoiceSpec, ParametersSpec, RangeSpec, SearchSpec
from agentloop.contracts.spec_families import defaults_of
from agentloop.training.fits import FitRequest

Space = Mapping[str, RangeSpec | ChoiceSpec]


@dataclass(frozen=True, slots=True)
class Draw:
    """One family with values for the parameters that its space names; the others keep those of
    the family's request."""

    family: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """All that decides a search but its data and the order in which results come in.

    ``requests`` and ``spaces`` hold one entry a family. ``first`` draws are tried in order, then
    Optuna's. It ends after ``trials`` draws or ``seconds``, whichever comes first.
    """

    requests: Mapping[str, FitRequest]
    spaces: Mapping[str, Space]
    first: tuple[Draw, ...]
    trials: int
    seconds: float | None
    prune: bool
    seed: int


@dataclass(frozen=True, slots=True)
class Trial:
    """One tried draw. ``loss`` is the mean over the folds' best validation losses, None if it
    diverged; ``pruned`` says that it was stopped before its end, because it fell behind or time
    was up. ``rounds`` are the best epochs (or trees) of the folds. ``scores`` names the file, in
    the search's folder, of the raw scores of the rows that validate: .npy, float32 (rows of all
    folds' tune parts, outputs), folds in order; empty where the trial did not finish. ``curve`` is
    the loss after each fold, or at some epochs."""

    family: str
    parameters: Mapping[str, Any]
    loss: float | None
    seconds: float
    rounds: tuple[int, ...] = ()
    pruned: bool = False
    scores: str = ""
    curve: tuple[float, ...] = ()

    @property
    def finished(self) -> bool:
        return self.loss is not None and not self.pruned


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The best trial, and all of them in the order they were drawn."""

    best: Trial
    trials: tuple[Trial, ...]
    seconds: float = 0.0


def check_space(family: str, search: SearchSpec) -> None:
    """Raises TrainingError if some draw would not be allowed, before any trial starts."""
    for name, space in search.space.items():
        if name not in defaults_of(family):
            raise TrainingError(
                f"model.search.space.{name}: family {family} has no such parameter",
                next_step="correct model.search.space in loop.yaml",
            )
        for value in space.choices if isinstance(space, ChoiceSpec) else (space.low, space.high):
            validated({name: value}, f"model.search.space.{name}: ")


def validated(parameters: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Drawn values as the types that their parameters have. Raises TrainingError."""
    try:
        checked = ParametersSpec.model_validate(dict(parameters))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        reason = f"{where}'{name}' cannot take a searched value: {first['msg']}"
        raise TrainingError(reason, next_step="correct model.search.space in loop.yaml") from None
    return {name: getattr(checked, name) for name in parameters}


def is_inside(space: Space, parameters: Mapping[str, Any]) -> bool:
    """Whether the space could draw these values."""
    for name, searched in space.items():
        value = parameters.get(name)
        if isinstance(searched, ChoiceSpec):
            if _plain(value) not in [_plain(choice) for choice in searched.choices]:
                return False
        elif value is None or not searched.low <= value <= searched.high:
            return False
    return True


def best_of(trials: tuple[Trial, ...]) -> Trial | None:
    """The finished trial with the lowest loss, the first of equals; None if there is none."""
    finished = [trial for trial in trials if trial.finished]
    return min(finished, key=lambda trial: trial.loss or 0.0, default=None)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, list)) else value
