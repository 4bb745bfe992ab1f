"""The reference profile: how the training data looked, in bins that live traffic is folded into.

Bins of a column: numbers have ``len(edges) + 1`` bins (bin k holds edges[k-1] <= x < edges[k]),
then one for null. Categories have one bin a category, then null, then unseen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from agentloop.contracts.codec import canonical_json, to_dict
from agentloop.contracts.data import DataSchema
from agentloop.lifecycle.features import (
    MAX_CATEGORIES,
    NUMERIC_KINDS,
    Columns,
    to_floats,
    to_texts,
)

NUMERIC_BINS = 20
PREDICTION = "prediction"

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ColumnReference:
    """One column's bins and how often training data fell in each."""

    name: str
    kind: Literal["numeric", "categorical"]
    edges: tuple[float, ...]
    categories: tuple[str, ...]
    counts: tuple[int, ...]

    @property
    def bins(self) -> int:
        return len(self.counts)

    def fold(self, values: npt.NDArray[Any] | Sequence[Any]) -> Counts:
        """int64 (bins,): how many of ``values`` fall in each bin."""
        if self.kind == "numeric":
            return fold_numbers(to_floats(values), np.asarray(self.edges))
        return _fold_texts(to_texts(values), self.categories)


@dataclass(frozen=True, slots=True)
class ReferenceProfile:
    """Bins of every feature and of the prediction (class label, or value for regression)."""

    columns: tuple[ColumnReference, ...]
    prediction: ColumnReference
    rows: int

    @property
    def edge_hash(self) -> str:
        """Identifies the bins (not the counts): counts folded by other bins must be refused."""
        bins = [[c.name, c.kind, c.edges, c.categories] for c in (*self.columns, self.prediction)]
        return hashlib.sha256(canonical_json(bins).encode()).hexdigest()[:16]

    def as_dict(self) -> dict[str, Any]:
        return to_dict(self)


def build_reference(
    columns: Columns, schema: DataSchema, predictions: npt.NDArray[Any], regression: bool = False
) -> ReferenceProfile:
    """Bin training columns by quantile, and the model's ``predictions`` (rows,) on them.

    ``predictions`` are class labels as text, or float values where ``regression``.
    """
    references = tuple(
        _numeric_reference(c.name, to_floats(columns[c.name]))
        if c.kind in NUMERIC_KINDS
        else _categorical_reference(c.name, to_texts(columns[c.name]))
        for c in schema.features
        if c.kind in NUMERIC_KINDS or c.kind == "category"
    )
    outcome = (
        _numeric_reference(PREDICTION, to_floats(predictions))
        if regression
        else _categorical_reference(PREDICTION, to_texts(predictions))
    )
    return ReferenceProfile(references, outcome, len(predictions))


def fold_numbers(
    values: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """int64 (len(edges) + 2,): the counts of ``values`` between ``edges``, then of NaN."""
    bins = np.searchsorted(edges, values, side="right")
    bins[np.isnan(values)] = len(edges) + 1
    return np.bincount(bins, minlength=len(edges) + 2).astype(np.int64)


def _numeric_reference(name: str, values: npt.NDArray[np.float64]) -> ColumnReference:
    seen = values[np.isfinite(values)]
    cuts = np.linspace(0, 1, NUMERIC_BINS + 1)[1:-1]
    edges = np.unique(np.quantile(seen, cuts)) if seen.size else np.empty(0)
    counts = fold_numbers(values, edges)
    return ColumnReference(name, "numeric", tuple(edges.tolist()), (), tuple(counts.tolist()))


def _categorical_reference(name: str, texts: list[str | None]) -> ColumnReference:
    counts: dict[str, int] = {}
    for text in texts:
        if text is not None:
            counts[text] = counts.get(text, 0) + 1
    ranked = sorted(counts, key=lambda text: (-counts[text], text))[:MAX_CATEGORIES]
    categories = tuple(sorted(ranked))
    folded = _fold_texts(texts, categories)
    return ColumnReference(name, "categorical", (), categories, tuple(folded.tolist()))


def _fold_texts(texts: list[str | None], categories: tuple[str, ...]) -> Counts:
    index: dict[str | None, int] = {text: i for i, text in enumerate(categories)}
    index[None] = len(categories)
    counts = np.zeros(len(categories) + 2, np.int64)
    for text in texts:
        counts[index.get(text, len(categories) + 1)] += 1
    return counts
