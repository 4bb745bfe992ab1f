"""The feature pipeline that training fits and serving runs: raw columns in, float32 matrix out.

It is data (JSON), never code, so that training and serving cannot differ and nothing is unpickled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.data import DataSchema

MAX_CATEGORIES = 100
NUMERIC_KINDS = ("number", "integer", "boolean")
# float32 beyond this is inf after scaling; a raw value past it says nothing more to a model.
CLIP_SIGMAS = 10.0

Columns = Mapping[str, npt.NDArray[Any]]
Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class NumericFeature:
    """Scaled to mean 0, deviation 1 and clipped to ±10; a null becomes ``fill``."""

    name: str
    fill: float
    mean: float
    scale: float


@dataclass(frozen=True, slots=True)
class CategoricalFeature:
    """One column a category, in order; a null or unseen value is all zeros."""

    name: str
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FeaturePipeline:
    """Fitted features in input order; the matrix has all numeric ones first."""

    numeric: tuple[NumericFeature, ...]
    categorical: tuple[CategoricalFeature, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The raw columns a request must have."""
        return (*(f.name for f in self.numeric), *(f.name for f in self.categorical))

    @property
    def width(self) -> int:
        """Columns of the matrix."""
        return len(self.numeric) + sum(len(f.categories) for f in self.categorical)

    def transform(self, columns: Columns) -> Matrix:
        """float32 (rows, width) from raw columns of equal length.

        Numbers may be any dtype that casts to float64 (null: NaN); categories are compared as
        text. Raises KeyError for a missing column, ValueError for one that is not a number.
        """
        blocks = [self._numeric_block(columns)] if self.numeric else []
        blocks += [_one_hot(columns[f.name], f.categories) for f in self.categorical]
        return np.concatenate(blocks, axis=1) if blocks else np.empty((0, 0), np.float32)

    def _numeric_block(self, columns: Columns) -> Matrix:
        raw = np.stack([to_floats(columns[f.name]) for f in self.numeric], axis=1)
        return self.scale(raw)

    def scale(self, raw: npt.NDArray[np.float64]) -> Matrix:
        """float32 (rows, numeric) from raw numbers (rows, numeric), in pipeline order."""
        fill = np.array([f.fill for f in self.numeric])
        mean = np.array([f.mean for f in self.numeric])
        scale = np.array([f.scale for f in self.numeric])
        scaled = (np.where(np.isnan(raw), fill, raw) - mean) / scale
        clipped: Matrix = np.clip(scaled, -CLIP_SIGMAS, CLIP_SIGMAS).astype(np.float32)
        return clipped


def fit_features(columns: Columns, schema: DataSchema) -> FeaturePipeline:
    """Fit on the training split only: ``columns`` are its raw columns, ``schema`` their kinds."""
    numeric = tuple(
        _fit_numeric(c.name, to_floats(columns[c.name]))
        for c in schema.features
        if c.kind in NUMERIC_KINDS
    )
    categorical = tuple(
        CategoricalFeature(c.name, _frequent(columns[c.name]))
        for c in schema.features
        if c.kind == "category"
    )
    return FeaturePipeline(numeric, categorical)


def to_floats(values: npt.NDArray[Any] | Sequence[Any]) -> npt.NDArray[np.float64]:
    """float64 (rows,) with NaN for None. Raises ValueError for text that is no number."""
    array = np.asarray(values)
    if array.dtype.kind in "fiub":
        return array.astype(np.float64).reshape(-1)
    return np.array([np.nan if v is None else float(v) for v in array.reshape(-1)], np.float64)


def to_texts(values: npt.NDArray[Any] | Sequence[Any]) -> list[str | None]:
    """Text of each value; None for None and NaN."""
    array = np.asarray(values).reshape(-1)
    return [None if v is None or _is_nan(v) else str(v) for v in array]


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _fit_numeric(name: str, values: npt.NDArray[np.float64]) -> NumericFeature:
    seen = values[np.isfinite(values)]
    if seen.size == 0:
        return NumericFeature(name, 0.0, 0.0, 1.0)
    deviation = float(seen.std())
    return NumericFeature(
        name, float(np.median(seen)), float(seen.mean()), deviation if deviation > 0 else 1.0
    )


def _frequent(values: npt.NDArray[Any]) -> tuple[str, ...]:
    counts: dict[str, int] = {}
    for text in to_texts(values):
        if text is not None:
            counts[text] = counts.get(text, 0) + 1
    ranked = sorted(counts, key=lambda text: (-counts[text], text))
    return tuple(sorted(ranked[:MAX_CATEGORIES]))


def _one_hot(values: npt.NDArray[Any], categories: tuple[str, ...]) -> Matrix:
    index = {text: i for i, text in enumerate(categories)}
    texts = to_texts(values)
    block = np.zeros((len(texts), len(categories)), np.float32)
    for row, text in enumerate(texts):
        column = index.get(text) if text is not None else None
        if column is not None:
            block[row, column] = 1.0
    return block
