"""The feature pipeline that training fits and serving runs: raw columns in, float32 matrix out.

It is data (JSON), never code, so that training and serving cannot differ and nothing is unpickled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.data import DataSchema
from agentloop.contracts.errors import TrainingError
from agentloop.contracts.spec import FeaturesSpec
from agentloop.lifecycle.raw_values import to_floats, to_texts
from agentloop.lifecycle.text_columns import text_columns
from agentloop.lifecycle.text_features import TextEncoder, TextFeature, fit_hash, fit_tfidf

__all__ = [
    "CLIP_SIGMAS",
    "MAX_CATEGORIES",
    "MAX_MATRIX_BYTES",
    "NUMERIC_KINDS",
    "CategoricalFeature",
    "Columns",
    "FeaturePipeline",
    "Matrix",
    "NumericFeature",
    "TextFeature",
    "fill_categories",
    "fit_features",
    "to_floats",
    "to_texts",
]

MAX_MATRIX_BYTES = 2 * 10**9
MAX_CATEGORIES = 100
NUMERIC_KINDS = ("number", "integer", "boolean")
# float32 beyond this is inf after scaling; a raw value past it says nothing more to a model.
CLIP_SIGMAS = 10.0

Columns = Mapping[str, npt.NDArray[Any]]
Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class NumericFeature:
    """Scaled to mean 0, deviation 1 and clipped to ±10, infinities too; a null becomes
    ``fill``."""

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
    """Fitted features in input order; the matrix has the numbers first, then a block a category
    column, then a block a text column. Bundles from before there were texts have none."""

    numeric: tuple[NumericFeature, ...]
    categorical: tuple[CategoricalFeature, ...]
    text: tuple[TextFeature, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The raw columns a request must have."""
        numbers, categories = (f.name for f in self.numeric), (f.name for f in self.categorical)
        return (*numbers, *categories, *(f.name for f in self.text))

    @property
    def width(self) -> int:
        """Columns of the matrix."""
        blocks = sum(len(f.categories) for f in self.categorical) + sum(f.width for f in self.text)
        return len(self.numeric) + blocks

    def transform(self, columns: Columns) -> Matrix:
        """float32 (rows, width) from raw columns of equal length.

        Numbers may be any dtype that casts to float64 (null: NaN); categories are compared, and
        texts read, as text. Raises KeyError for a missing column, ValueError for one that is not a
        number or has another length.
        """
        if not self.names:
            return np.empty((0, 0), np.float32)
        matrix = np.zeros((len(columns[self.names[0]]), self.width), np.float32)
        start = len(self.numeric)
        if self.numeric:
            raw = np.stack([to_floats(columns[f.name]) for f in self.numeric], axis=1)
            matrix[:, :start] = self.scale(raw)
        for category in self.categorical:
            index = {text: place for place, text in enumerate(category.categories)}
            fill_categories(matrix, start, to_texts(columns[category.name]), index)
            start += len(index)
        for text in self.text:
            block = matrix[:, start : start + text.width]
            TextEncoder(text).fill(block, columns[text.name])
            start += text.width
        return matrix

    def scale(self, raw: npt.NDArray[np.float64]) -> Matrix:
        """float32 (rows, numeric) from raw numbers (rows, numeric), in pipeline order."""
        fill = np.array([f.fill for f in self.numeric])
        mean = np.array([f.mean for f in self.numeric])
        scale = np.array([f.scale for f in self.numeric])
        with np.errstate(over="ignore"):
            scaled = (np.where(np.isnan(raw), fill, raw) - mean) / scale
        clipped: Matrix = np.clip(scaled, -CLIP_SIGMAS, CLIP_SIGMAS).astype(np.float32)
        return clipped


def fit_features(
    columns: Columns, schema: DataSchema, spec: FeaturesSpec | None = None
) -> FeaturePipeline:
    """Fit on the training split only: ``columns`` are its raw columns, ``schema`` their kinds.

    Raises TrainingError for a text column that ``spec`` names and the data have not, for one
    without words to learn, and for a matrix too large to hold.
    """
    spec = spec or FeaturesSpec()
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
    names = text_columns(columns, schema, spec)
    text = tuple(_fit_text(name, columns[name], spec) for name in names)
    pipeline = FeaturePipeline(numeric, categorical, tuple(f for f in text if f.width))
    if pipeline.text:
        _check_size(len(columns[pipeline.text[0].name]), pipeline.width)
    return pipeline


def fill_categories(
    matrix: Matrix, start: int, texts: list[str | None], index: Mapping[str, int]
) -> None:
    """Put the ones of a category column in its block of ``matrix``, which begins at ``start`` and
    is all zeros. Raises ValueError unless there is one text a row."""
    rows = len(matrix)
    if len(texts) != rows:
        raise ValueError(f"a column has {len(texts)} rows, others {rows}")
    places = np.fromiter(map(index.get, texts, repeat(-1)), np.int64, rows)  # type: ignore[arg-type]
    known = np.flatnonzero(places >= 0)
    matrix[known, start + places[known]] = 1.0


def _fit_text(name: str, values: npt.NDArray[Any], spec: FeaturesSpec) -> TextFeature:
    if spec.encoding == "hash":
        return fit_hash(name, spec.terms, spec.ngrams)
    feature = fit_tfidf(name, values, spec.terms, spec.ngrams)
    if spec.text != "auto" and not feature.width:
        reason = f"no word of the text column '{name}' is in two training rows"
        raise TrainingError(reason, next_step="take it out of model.features.text")
    return feature


def _check_size(rows: int, width: int) -> None:
    needed = rows * width * np.dtype(np.float32).itemsize
    if needed > MAX_MATRIX_BYTES:
        reason = (
            f"{rows:,} training rows of {width:,} features need {needed / 1e9:.1f} GB, "
            f"of {MAX_MATRIX_BYTES / 1e9:.0f} GB that a matrix with text may take"
        )
        raise TrainingError(reason, next_step="lower model.features.terms")


def _fit_numeric(name: str, values: npt.NDArray[np.float64]) -> NumericFeature:
    seen = values[np.isfinite(values)]
    if seen.size == 0:
        return NumericFeature(name, 0.0, 0.0, 1.0)
    # Squares of numbers past 1e154 overflow: those are measured in units of the largest.
    largest = float(np.abs(seen).max())
    unit = largest if largest > 1e100 else 1.0
    shrunk = seen / unit
    deviation = float(shrunk.std()) * unit
    return NumericFeature(
        name,
        float(np.median(shrunk)) * unit,
        float(shrunk.mean()) * unit,
        deviation if deviation > 0 else 1.0,
    )


def _frequent(values: npt.NDArray[Any]) -> tuple[str, ...]:
    counts = Counter(text for text in to_texts(values) if text is not None)
    ranked = sorted(counts, key=lambda text: (-counts[text], text))
    return tuple(sorted(ranked[:MAX_CATEGORIES]))
