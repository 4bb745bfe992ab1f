"""Model families, the hyper-parameters that each of them has, and what these are if left out."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import Field, field_validator

from agentloop.contracts.spec_base import Strict

Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class ParametersSpec(Strict):
    """Hyper-parameters. One that is left out has its family's default (``FAMILY_DEFAULTS``); one
    that the family does not have is refused; a search replaces those that its space names.

    Networks: ``batch_size`` rows a step (over all workers), of which ``accumulate`` share one
    update; training stops after ``patience`` epochs (trees: after so many trees) without a better
    validation loss. ``hidden`` and ``channels`` hold a width a layer; ``embedding`` is how many
    numbers stand for a category (0: one a category); ``image`` is height, width and, if not 1,
    channels; ``shift`` moves training images by up to so many pixels. Trees have up to ``leaves``
    leaves of at least ``min_leaf_rows`` rows, and ``column_share`` of the columns to split by.
    """

    learning_rate: Rate | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    batch_size: Count | None = None
    epochs: Count | None = None
    accumulate: Count | None = None
    patience: Count | None = None
    dropout: Share | None = None
    hidden: tuple[int, ...] | None = None
    embedding: Annotated[int, Field(ge=0, le=256)] | None = None
    width: Count | None = None
    blocks: Count | None = None
    heads: Count | None = None
    channels: tuple[int, ...] | None = None
    image: tuple[int, ...] | None = None
    shift: Annotated[int, Field(ge=0, le=8)] | None = None
    trees: Annotated[int, Field(ge=1, le=5000)] | None = None
    leaves: Annotated[int, Field(ge=2, le=1024)] | None = None
    min_leaf_rows: Count | None = None
    l2: Annotated[float, Field(ge=0)] | None = None
    column_share: Annotated[float, Field(gt=0, le=1)] | None = None

    @field_validator("hidden", "channels", "image")
    @classmethod
    def _widths_are_positive(cls, widths: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if widths is not None and (not widths or any(width < 1 for width in widths)):
            raise ValueError("needs one positive width a layer")
        return widths


_NETWORK: dict[str, Any] = {
    "learning_rate": 1e-2,
    "weight_decay": 1e-4,
    "batch_size": 128,
    "epochs": 30,
    "accumulate": 1,
    "patience": None,  # a fifth of the epochs, at least 5
}

# Every parameter of a family, with its default: None is for the family to choose.
FAMILY_DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "linear": _NETWORK,
        "mlp": {**_NETWORK, "hidden": (64,), "dropout": 0.0, "embedding": 0},
        "ft-transformer": {
            **_NETWORK,
            "learning_rate": 1e-3,
            "batch_size": 256,
            "width": 32,
            "blocks": 2,
            "heads": 4,
            "dropout": 0.1,
        },
        "cnn": {
            **_NETWORK,
            "learning_rate": 4e-3,
            "epochs": 8,
            "channels": (16, 32, 64),
            "hidden": (128,),
            "dropout": 0.25,
            "image": None,  # a square of the columns
            "shift": 1,
        },
        "gradient-boosting": {
            "learning_rate": 0.1,
            "trees": 500,
            "patience": 20,
            "leaves": 31,
            "min_leaf_rows": 20,
            "l2": 0.0,
            "column_share": 1.0,
        },
        "extra-trees": {"trees": 200, "leaves": 512, "min_leaf_rows": 3, "column_share": 0.5},
    }
)
# What a user's own network is given.
CALLABLE_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {**_NETWORK, "hidden": (64,), "dropout": 0.0}
)
AUTO = "auto"
FAMILIES = tuple(FAMILY_DEFAULTS)
SEARCHABLE = tuple(ParametersSpec.model_fields)


def defaults_of(family: str) -> Mapping[str, Any]:
    """The parameters of a built-in family or of a ``module:callable``, with their defaults."""
    return FAMILY_DEFAULTS.get(family, CALLABLE_DEFAULTS)


def parameters_of(family: str, given: ParametersSpec) -> dict[str, Any]:
    """All parameters of ``family``: those ``given``, and the defaults of the others."""
    chosen = given.model_dump(exclude_none=True)
    return {name: chosen.get(name, value) for name, value in defaults_of(family).items()}
