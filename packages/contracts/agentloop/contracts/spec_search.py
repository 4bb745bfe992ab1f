"""The search section of loop.yaml: how many draws, of which family, from which space."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from agentloop.contracts.spec_base import (
    Strict,
    plain_choice,
    plain_type,
    shown,
    unknown_name,
    whole_number_or_auto,
)
from agentloop.contracts.spec_families import FAMILIES, SEARCHABLE, ParametersSpec
from agentloop.contracts.spec_words import plain_words


class RangeSpec(Strict):
    """A searched number: ``low`` to ``high``, on a log scale if asked; ``integer`` for whole."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> RangeSpec:
        if not self.low < self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError("a log scale needs low > 0")
        return self


class ChoiceSpec(Strict):
    """A searched choice."""

    choices: tuple[Annotated[Any, AfterValidator(plain_choice)], ...]

    @field_validator("choices")
    @classmethod
    def _has_choices(cls, choices: tuple[Any, ...]) -> tuple[Any, ...]:
        if not choices:
            raise ValueError("must not be empty")
        return choices


def _meant(value: Any) -> str:
    """A range, unless its keys, however misspelt, are nearer to those of a choice."""
    if isinstance(value, dict):
        keys = [str(key) for key in value]
        chosen = difflib.get_close_matches("choices", keys, n=1)
        return "ChoiceSpec" if chosen and not {"low", "high"} & set(keys) else "RangeSpec"
    return type(value).__name__ if isinstance(value, ChoiceSpec) else "RangeSpec"


# Told apart by their keys, so that a mistake in one is not explained as a mistake in the other.
SearchedSpec = Annotated[
    Annotated[RangeSpec, Tag("RangeSpec")] | Annotated[ChoiceSpec, Tag("ChoiceSpec")],
    Discriminator(_meant),
]


def _is_searchable(name: str) -> str:
    if name not in SEARCHABLE:
        raise unknown_name("parameter", name, SEARCHABLE, "key")
    return name


def _is_family(name: str) -> str:
    if name not in FAMILIES:
        raise unknown_name("model family", name, FAMILIES, "family")
    return name


class SearchSpec(Strict):
    """An Optuna search over ``model.parameters``, run as Ray Tune trials.

    It ends after ``trials`` draws or ``seconds``, whichever comes first. A family without a
    ``space`` is searched in its own one under ``family: auto``, which tries ``families`` (all that
    suit the data, if left out) on ``folds`` (1: one validation part) and serves up to ``members``
    of the models it tried as one. ``prune`` stops draws that fall behind (ASHA); ``warm_start``
    first tries the best draws of the model's earlier searches.
    """

    trials: int = Field(default=4, ge=0)
    seconds: float | None = Field(default=None, gt=0)
    concurrency: int = Field(default=2, ge=1)
    prune: bool = True
    warm_start: bool = False
    families: tuple[Annotated[str, AfterValidator(_is_family)], ...] = ()
    folds: Annotated[int | Literal["auto"], BeforeValidator(whole_number_or_auto)] = "auto"
    members: int = Field(default=8, ge=1, le=32)
    space: dict[Annotated[str, AfterValidator(_is_searchable)], SearchedSpec] = Field(
        default_factory=dict
    )


def misfit(name: str, searched: RangeSpec | ChoiceSpec) -> str | None:
    """Why some value of ``searched`` can not be the parameter ``name``; None if all can."""
    annotation = plain_type(ParametersSpec.model_fields[name].annotation)
    if isinstance(searched, ChoiceSpec):
        values = searched.choices
    elif annotation not in (int, float):
        return "is not one number: give choices in place of low and high"
    elif annotation is int and not searched.integer:
        return "is a whole number: add integer: true"
    else:
        values = (searched.low, searched.high)
    for value in values:
        try:
            ParametersSpec.model_validate({name: value})
        except ValidationError as error:
            words = plain_words(error.errors(include_url=False, include_input=False)[0])
            return f"{shown(value)} is not allowed: {name} {words}"
    return None
