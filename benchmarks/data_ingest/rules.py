"""What every competitor holds the rows against. Plain values: each environment imports this file.

20 columns: 12 floats, 4 integers, 3 categories (the first is the target), 1 time.
"""

from __future__ import annotations

from typing import Any

FLOATS = tuple(f"{family}{i}" for family in ("normal", "skewed", "waiting") for i in range(1, 5))
INTEGERS = ("id", "visits", "age", "points")
CATEGORIES: dict[str, tuple[str, ...]] = {
    "label": ("no", "yes"),
    "region": tuple(f"region-{i:02}" for i in range(20)),
    "product": tuple(f"product-{i:03}" for i in range(500)),
}
TIME = "moment"
TARGET = "label"
KEY = "id"
NUMBERS = (*FLOATS, *INTEGERS)
NAMES = (KEY, TIME, *FLOATS, *INTEGERS[1:], *CATEGORIES)

# Highest share of nulls; columns that are not named may have none.
NULL_LIMITS = {"normal2": 0.1, "skewed2": 0.1, "waiting2": 0.2}
RANGES: dict[str, tuple[float, float]] = {
    "age": (18, 95),
    "visits": (0, 100),
    "skewed1": (0, 1000),
    "waiting1": (0, 500),
}
# Holds by the way the rows are made; both columns have a value in every row.
SMALLER, LARGER = "waiting3", "waiting4"
RULE = f"{LARGER} >= {SMALLER}"

PROBABILITIES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 20
TOP = 20


class InvalidRows(Exception):
    """The rows break what is declared above; the argument says how."""


def source_config(path: str) -> dict[str, Any]:
    """The same demands as the ``data`` section of a loop.yaml."""
    columns: dict[str, dict[str, Any]] = {
        name: {"kind": kind, "nullable": name in NULL_LIMITS}
        for names, kind in ((FLOATS, "number"), (INTEGERS, "integer"), (CATEGORIES, "category"))
        for name in names
    }
    columns[TIME] = {"kind": "datetime", "nullable": False}
    columns[KEY]["unique"] = True
    for name, (low, high) in RANGES.items():
        columns[name].update(minimum=low, maximum=high)
    for name, values in CATEGORIES.items():
        columns[name]["categories"] = values
    return {
        "source": {"kind": "csv", "path": path},
        "target": TARGET,
        "columns": columns,
        "checks": {
            "max_null_rate": max(NULL_LIMITS.values()),
            "rules": [{"name": "ordered", "check": RULE}],
        },
    }
