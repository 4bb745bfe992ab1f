"""Nouns to and from plain JSON values, for checkpoints, stores and HTTP."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _adapter(cls: Any) -> TypeAdapter[Any]:
    # Building an adapter takes milliseconds, using one microseconds.
    if cls not in _ADAPTERS:
        _ADAPTERS[cls] = TypeAdapter(cls)
    return _ADAPTERS[cls]


def to_dict(noun: Any) -> dict[str, Any]:
    """A frozen noun as JSON-ready values."""
    result: dict[str, Any] = _adapter(type(noun)).dump_python(noun, mode="json")
    return result


def from_dict(cls: type[T], value: dict[str, Any]) -> T:
    """The noun of class ``cls``. Raises ``pydantic.ValidationError`` if it does not fit."""
    noun: T = _adapter(cls).validate_python(value)
    return noun


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
