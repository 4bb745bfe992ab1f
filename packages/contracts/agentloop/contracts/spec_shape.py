"""Where in loop.yaml a place that pydantic names is, and which keys are valid there."""

from __future__ import annotations

import types
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from agentloop.contracts.spec import LoopSpec

Loc = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """``loc`` holds the file's own keys; ``keys`` are those valid in it, ``siblings`` beside it."""

    loc: Loc
    keys: tuple[str, ...]
    siblings: tuple[str, ...]


def locate(loc: Loc) -> Place:
    """``loc`` without what pydantic puts between the keys of the file: tags of unions."""
    real: Loc = ()
    parents: list[Any] = []
    here: list[Any] = [LoopSpec]
    for part in loc:
        if part == "[key]":
            continue
        tagged = [leaf for leaf in here if _is_tagged(leaf, part)] if len(here) > 1 else []
        if tagged:
            here = tagged
            continue
        parents, here = here, [child for leaf in here for child in _below(leaf, part)]
        real = (*real, part)
    return Place(real, _keys(here), _keys(parents))


def _keys(leaves: Iterable[Any]) -> tuple[str, ...]:
    found = [key for leaf in leaves if _is_model(leaf) for key in leaf.model_fields]
    return tuple(dict.fromkeys(found))


def _below(leaf: Any, part: str | int) -> list[Any]:
    """What a model, a dict or a tuple holds at ``part``."""
    if _is_model(leaf):
        info = leaf.model_fields.get(str(part))
        return _leaves(info.annotation) if info else []
    if get_origin(leaf) is dict:
        return _leaves(get_args(leaf)[1])
    return _leaves(get_args(leaf)[0]) if get_origin(leaf) is tuple else []


def _leaves(annotation: Any) -> list[Any]:
    """The members of a union, without what annotates them."""
    if get_origin(annotation) is Annotated:
        return _leaves(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [leaf for member in get_args(annotation) for leaf in _leaves(member)]
    return [annotation]


def _is_model(leaf: Any) -> bool:
    return isinstance(leaf, type) and issubclass(leaf, BaseModel)


def _is_tagged(leaf: Any, part: str | int) -> bool:
    """Whether ``part`` tags this member of a union: by its class, or by a literal that it takes."""
    if not _is_model(leaf):
        return False
    literals = [f.annotation for f in leaf.model_fields.values()]
    return part == leaf.__name__ or any(
        get_origin(literal) is Literal and part in get_args(literal) for literal in literals
    )
