"""A search space as data: what a trial draws, and the parameters that a draw stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from agentloop.contracts.errors import TrainingError
from agentloop.contracts.spec import ChoiceSpec, ParametersSpec, SearchSpec

Draw = Mapping[str, float | int]


@dataclass(frozen=True, slots=True)
class Trial:
    """One tried draw. ``loss`` is the mean over the folds' best validation losses, None if it
    diverged; ``pruned`` says that it was stopped because it fell behind. ``rounds`` are the best
    epochs (or trees) of the folds. ``scores`` names the file, in the search's folder, of the raw
    scores of the rows that validate: .npy, float32 (rows of all folds' tune parts, outputs), folds
    in order; empty where the trial did not finish."""

    family: str
    parameters: Mapping[str, Any]
    loss: float | None
    seconds: float
    rounds: tuple[int, ...] = ()
    pruned: bool = False
    scores: str = ""
    curve: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The best trial, and all of them in the order they were drawn."""

    best: Trial
    trials: tuple[Trial, ...]
    seconds: float = 0.0


def decode(draw: Draw, search: SearchSpec, defaults: ParametersSpec) -> ParametersSpec:
    """The parameters of a draw: a choice is drawn as its position, a range as its value.

    Raises TrainingError for a value that is not allowed for its parameter.
    """
    chosen: dict[str, Any] = {}
    for name, value in draw.items():
        space = search.space[name]
        chosen[name] = space.choices[int(value)] if isinstance(space, ChoiceSpec) else value
    return _valid({**defaults.model_dump(), **chosen})


def encode(search: SearchSpec, defaults: ParametersSpec) -> dict[str, float | int] | None:
    """The draw that ``defaults`` are, or None where they lie outside the space."""
    draw: dict[str, float | int] = {}
    for name, space in search.space.items():
        value = getattr(defaults, name)
        if isinstance(space, ChoiceSpec):
            plain = [_plain(choice) for choice in space.choices]
            if _plain(value) not in plain:
                return None
            draw[name] = plain.index(_plain(value))
        elif space.low <= value <= space.high:
            draw[name] = value
        else:
            return None
    return draw


def check_space(search: SearchSpec, defaults: ParametersSpec) -> None:
    """Raises TrainingError if some draw would not be allowed, before any trial starts."""
    for name, space in search.space.items():
        ends = space.choices if isinstance(space, ChoiceSpec) else (space.low, space.high)
        for value in ends:
            _valid({**defaults.model_dump(), name: value}, f"model.search.space.{name}: ")


def best_of(trials: tuple[Trial, ...]) -> Trial | None:
    """The trial with the lowest loss, the first of equals; None if all diverged."""
    finished = [trial for trial in trials if trial.loss is not None]
    return min(finished, key=lambda trial: trial.loss or 0.0, default=None)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, list)) else value


def _valid(parameters: dict[str, Any], where: str = "") -> ParametersSpec:
    try:
        return ParametersSpec.model_validate(parameters)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        reason = f"{where}'{name}' cannot take a searched value: {first['msg']}"
        raise TrainingError(reason, next_step="correct model.search.space in loop.yaml") from None
