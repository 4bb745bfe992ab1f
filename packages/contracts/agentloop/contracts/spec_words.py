"""What pydantic says of a value, in the words of whoever edits a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WORDS = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "is too large",
    "int_type": "must be a whole number",
    "string_type": "must be text",
    "string_unicode": "must be text without broken characters",
    "tuple_type": "must be a list",
}


def plain_words(detail: Mapping[str, Any]) -> str:
    """One sentence without a subject: ``detail`` is an item of ``ValidationError.errors()``."""
    known = _WORDS.get(str(detail["type"]))
    if known:
        return known
    if detail["type"] in ("too_short", "string_too_short"):
        return "must not be empty"
    message = str(detail["msg"]).removeprefix("Value error, ")
    return message.replace("Input should", "must").replace("must be a valid", "must be a")
