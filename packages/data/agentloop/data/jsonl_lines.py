"""JSON lines one by one: which of them is no plain JSON object, and why."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

# A line with more brackets is judged by itself: Arrow's parser recurses, and would crash.
MAX_BRACKETS = 500


def nests_deep(data: bytes) -> bool:
    """Whether a line might nest deeper than Arrow's parser can take."""
    if data.count(b"[") + data.count(b"{") - data.count(b"\n") <= MAX_BRACKETS:
        return False
    values = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(values == 0x0A)
    brackets = np.flatnonzero((values == 0x5B) | (values == 0x7B))
    lines = np.searchsorted(ends, brackets)
    return bool(np.bincount(lines, minlength=1).max() > MAX_BRACKETS)


def judge_line(line: bytes) -> tuple[dict[str, Any] | None, str]:
    """The object that a line holds, or None and the reason."""
    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=_without_twins)
    except RecursionError:
        return None, "is nested too deeply"
    except UnicodeDecodeError:
        return None, "is not UTF-8 text"
    except ValueError as error:
        return None, f"is not JSON ({getattr(error, 'msg', error)})"
    if not isinstance(value, dict):
        return None, f"is a JSON {_NAMES.get(type(value), 'value')}, not an object"
    if nests_deep(line) and any(isinstance(inner, list | dict) for inner in value.values()):
        return None, "is nested too deeply"
    if b"\\u" in line and not _is_text(value):
        return None, "holds half of a character"
    return value, ""


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key '{twice}' is there twice")
    return value


def _is_text(value: dict[str, Any]) -> bool:
    """Whether every text can be encoded: half of a surrogate pair cannot."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


_NAMES: dict[type, str] = {
    list: "array",
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
}
