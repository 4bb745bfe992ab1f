"""What ``family: auto`` searches: which families suit the data, where, and what is tried first."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

from agentloop.contracts.spec import ChoiceSpec, RangeSpec
from agentloop.lifecycle.feature_layout import Layout
from agentloop.training.search_space import Draw, Space

MIN_PIXELS = 64
MAX_TREE_COLUMNS = 1000
MAX_FOREST_ROWS = 20_000
# Multiplications that one processor does in a second on small matrices, as measured to a factor of
# two; a trial of a family that would take more than its share of the time is not begun.
MULTIPLICATIONS_PER_S = 3e9
SHARE_OF_TIME = 0.1


def _range(low: float, high: float, log: bool = False, integer: bool = False) -> RangeSpec:
    return RangeSpec(low=low, high=high, log=log, integer=integer)


def _choice(*choices: Any) -> ChoiceSpec:
    return ChoiceSpec(choices=choices)


SPACES: Mapping[str, Space] = {
    "gradient-boosting": {
        "learning_rate": _range(0.01, 0.3, log=True),
        "leaves": _range(4, 64, log=True, integer=True),
        "min_leaf_rows": _range(3, 100, log=True, integer=True),
        "l2": _range(0.001, 30.0, log=True),
        "column_share": _range(0.2, 1.0),
    },
    "extra-trees": {
        "min_leaf_rows": _range(1, 20, log=True, integer=True),
        "column_share": _range(0.2, 1.0),
        "leaves": _choice(256, 512, 1024),
    },
    "linear": {
        "learning_rate": _range(0.001, 0.1, log=True),
        "weight_decay": _range(1e-5, 1.0, log=True),
        "batch_size": _choice(64, 256),
    },
    "mlp": {
        "hidden": _choice([32], [128], [64, 32], [256, 128]),
        "embedding": _choice(0, 4, 16),
        "dropout": _range(0.0, 0.5),
        "learning_rate": _range(5e-4, 2e-2, log=True),
        "weight_decay": _range(1e-5, 0.3, log=True),
        "batch_size": _choice(64, 256),
        "epochs": _choice(15, 40),
    },
    "ft-transformer": {
        "width": _choice(16, 32),
        "blocks": _choice(1, 2, 3),
        "dropout": _range(0.0, 0.4),
        "learning_rate": _range(2e-4, 5e-3, log=True),
        "weight_decay": _range(1e-5, 0.1, log=True),
        "epochs": _choice(15, 30),
    },
    "cnn": {
        "learning_rate": _range(5e-4, 5e-3, log=True),
        "dropout": _range(0.1, 0.5),
        "shift": _choice(0, 1, 2),
    },
}

_TREES = ("learning_rate", "leaves", "min_leaf_rows", "l2", "column_share")
_NETWORK = ("learning_rate", "weight_decay")
# Strong ones of each family, the cheapest first: a short search has a good answer, and draws that
# learn from it start well.
FIRST: tuple[Draw, ...] = (
    Draw("gradient-boosting", dict(zip(_TREES, (0.1, 31, 20, 0.001, 1.0), strict=True))),
    Draw("gradient-boosting", dict(zip(_TREES, (0.05, 15, 30, 1.0, 1.0), strict=True))),
    Draw("linear", {"learning_rate": 0.01, "weight_decay": 1e-2, "batch_size": 256}),
    Draw("gradient-boosting", dict(zip(_TREES, (0.03, 63, 20, 1.0, 0.3), strict=True))),
    Draw("extra-trees", {"min_leaf_rows": 3, "column_share": 0.5, "leaves": 512}),
    Draw("gradient-boosting", dict(zip(_TREES, (0.03, 8, 10, 1.0, 0.5), strict=True))),
    Draw(
        "mlp",
        {
            "hidden": (128,),
            "embedding": 4,
            "dropout": 0.2,
            "learning_rate": 0.003,
            "weight_decay": 0.01,
            "batch_size": 256,
            "epochs": 15,
        },
    ),
    Draw("extra-trees", {"min_leaf_rows": 1, "column_share": 1.0, "leaves": 1024}),
    Draw("gradient-boosting", dict(zip(_TREES, (0.02, 16, 100, 10.0, 0.7), strict=True))),
    Draw("cnn", {"learning_rate": 0.004, "dropout": 0.25, "shift": 1}),
    Draw(
        "ft-transformer",
        {
            "width": 16,
            "blocks": 2,
            "dropout": 0.1,
            "learning_rate": 0.001,
            "weight_decay": 1e-4,
            "epochs": 15,
        },
    ),
)


def choose_families(
    layout: Layout, rows: int, folds: int, seconds: float | None, asked: tuple[str, ...]
) -> tuple[str, ...]:
    """Those of ``asked`` (all, if empty) that suit so many rows of such a layout, fitted on each of
    ``folds`` within ``seconds`` for all trials. At least one is chosen."""
    if asked:
        return asked
    if is_picture(layout):
        return ("cnn",)
    chosen = ["linear", "mlp"]
    if layout.width <= MAX_TREE_COLUMNS:
        chosen.insert(0, "gradient-boosting")
        if rows <= MAX_FOREST_ROWS:
            chosen.insert(1, "extra-trees")
    if seconds is None or transformer_seconds(layout, rows) * folds <= SHARE_OF_TIME * seconds:
        chosen.append("ft-transformer")
    return tuple(chosen)


def is_picture(layout: Layout) -> bool:
    """Whether the columns look like the pixels of a square."""
    side = isqrt(layout.numeric)
    plain = not layout.blocks and not layout.text
    return plain and layout.numeric >= MIN_PIXELS and side * side == layout.numeric


def transformer_seconds(layout: Layout, rows: int) -> float:
    """About how long the smallest network of attention that is searched takes for 15 epochs."""
    tokens = layout.numeric + len(layout.blocks) + bool(layout.text) + 1
    width, blocks = 16, 2
    per_row = blocks * tokens * (12 * width**2 + 2 * tokens * width)
    return 3 * 15 * rows * per_row / MULTIPLICATIONS_PER_S


def first_draws(families: tuple[str, ...]) -> tuple[Draw, ...]:
    return tuple(draw for draw in FIRST if draw.family in families)
