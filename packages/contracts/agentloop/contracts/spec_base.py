"""What every section of loop.yaml shares: strictness, and refusals that name their place."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

LONGEST_SHOWN = 60


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _switches_are_no_numbers(cls, value: Any) -> Any:
        # Python's True is 1, so YAML's `epochs: yes` would train for one epoch.
        for name, field in cls.model_fields.items() if isinstance(value, dict) else ():
            if isinstance(value.get(name), bool) and plain_type(field.annotation) in (int, float):
                raise refusal("must be a number, not true or false", below=[name])
        return value


def plain_type(annotation: Any) -> Any:
    """The type itself, of one that is annotated or may be None."""
    if get_origin(annotation) is Annotated:
        return plain_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        named = [member for member in get_args(annotation) if member is not type(None)]
        return plain_type(named[0]) if len(named) == 1 else annotation
    return annotation


def shown(value: object) -> str:
    """The user's own text for a message, cut where it is long."""
    text = str(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def unknown_name(what: str, name: str, known: tuple[str, ...], kind: str) -> PydanticCustomError:
    """``name`` is none of ``known``; ``kind`` is a ``SpecIssueKind``."""
    message = f"unknown {what} '{shown(name)}'; choose from {', '.join(known)}"
    return refusal(message, name=name, known=list(known), kind=kind)


def refusal(message: str, **context: Any) -> PydanticCustomError:
    """``below`` in ``context`` is a list of keys: where under the checked section it is wrong."""
    return PydanticCustomError("refused", "{message}", {"message": message, **context})


def matching(pattern: str, words: str) -> Callable[[str], str]:
    """A check that the whole text has ``pattern``; ``words`` tell a person what that is."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text):
            return text
        raise refusal(words)

    return check


def whole_number_or_auto(value: Any) -> Any:
    """0, 1, 2, … or ``auto``; a bool is no number here."""
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if whole or value == "auto":
        return value
    raise refusal("must be a whole number, 0 or more, or auto")


def switch_or_auto(value: Any) -> Any:
    if isinstance(value, bool) or value == "auto":
        return value
    raise refusal("must be true, false or auto")


def plain_choice(value: Any) -> Any:
    """A choice of a search is a finite number, text, a switch, or a list of those."""
    for item in value if isinstance(value, (list, tuple)) else (value,):
        plain = isinstance(item, (str, int)) or (isinstance(item, float) and math.isfinite(item))
        if not plain:
            raise refusal("must be a finite number, text, true, false, or a list of those")
    return value
