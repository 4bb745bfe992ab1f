"""A promise beside what was measured."""

from __future__ import annotations

import math
from typing import Any

Target = dict[str, Any]


def at_most(name: str, value: float, target: float, unit: str) -> Target:
    return _target(name, value, target, unit, "at most", value <= target)


def at_least(name: str, value: float, target: float, unit: str) -> Target:
    return _target(name, value, target, unit, "at least", value >= target)


def _target(
    name: str, value: float, target: float, unit: str, direction: str, holds: bool
) -> Target:
    return {
        "name": name,
        # What never happened has no seconds, and JSON no infinity.
        "value": round(value, 4) if math.isfinite(value) else None,
        "target": target,
        "unit": unit,
        "direction": direction,
        "holds": bool(holds),
    }
