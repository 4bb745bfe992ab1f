"""The reference profile: how the training data looked, in bins that live traffic is folded into.

Bins of a column: numbers have ``len(edges) + 1`` bins (bin k holds edges[k-1] <= x < edges[k]),
then one for null. Texts are binned so by their number of words. Categories have one bin a
category, then null, then unseen.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from agentloop.contracts.codec import canonical_json, to_dict
from agentloop.contracts.data import ColumnKind, DataSchema
from agentloop.lifecycle.features import (
    MAX_CATEGORIES,
    NUMERIC_KINDS,
    Columns,
    to_floats,
    to_texts,
)
from agentloop.lifecycle.text_features import word_counts

NUMERIC_BINS = 20
PREDICTION = "prediction"

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ColumnReference:
    """One column's bins and how often training data fell in each."""

    name: str
    kind: Literal["numeric", "categorical", "text"]
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
        if self.kind == "text":
            return fold_numbers(word_counts(values), np.asarray(self.edges))
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
    columns: Columns,
    schema: DataSchema,
    predictions: npt.NDArray[Any],
    regression: bool = False,
    text: Iterable[str] = (),
) -> ReferenceProfile:
    """Bin training columns by quantile, and the model's ``predictions`` (rows,) on them.

    ``predictions`` are class labels as text, or float values where ``regression``; ``text`` names
    the text columns that the model reads.
    """
    read = frozenset(text)
    references = [
        _column_reference(c.name, "text" if c.name in read else c.kind, columns[c.name])
        for c in schema.features
        if c.kind in NUMERIC_KINDS or c.kind == "category" or c.name in read
    ]
    outcome = _column_reference(PREDICTION, "number" if regression else "category", predictions)
    return ReferenceProfile(tuple(references), outcome, len(predictions))


def fold_numbers(
    values: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """int64 (len(edges) + 2,): the counts of ``values`` between ``edges``, then of NaN."""
    bins = np.searchsorted(edges, values, side="right")
    bins[np.isnan(values)] = len(edges) + 1
    return np.bincount(bins, minlength=len(edges) + 2).astype(np.int64)


def _column_reference(name: str, kind: ColumnKind, values: npt.NDArray[Any]) -> ColumnReference:
    if kind == "text":
        return _ranked_reference(name, "text", word_counts(values))
    if kind in NUMERIC_KINDS:
        return _ranked_reference(name, "numeric", to_floats(values))
    return _categorical_reference(name, to_texts(values))


def _ranked_reference(
    name: str, kind: Literal["numeric", "text"], values: npt.NDArray[np.float64]
) -> ColumnReference:
    seen = values[np.isfinite(values)]
    cuts = np.linspace(0, 1, NUMERIC_BINS + 1)[1:-1]
    edges = np.unique(np.quantile(seen, cuts)) if seen.size else np.empty(0)
    counts = fold_numbers(values, edges)
    return ColumnReference(name, kind, tuple(edges.tolist()), (), tuple(counts.tolist()))


def _categorical_reference(name: str, texts: list[str | None]) -> ColumnReference:
    counts = Counter(text for text in texts if text is not None)
    ranked = sorted(counts, key=lambda text: (-counts[text], text))[:MAX_CATEGORIES]
    categories = tuple(sorted(ranked))
    folded = _fold_texts(texts, categories)
    return ColumnReference(name, "categorical", (), categories, tuple(folded.tolist()))


def _fold_texts(texts: list[str | None], categories: tuple[str, ...]) -> Counts:
    index: dict[str | None, int] = {text: i for i, text in enumerate(categories)}
    index[None] = len(categories)
    places = np.fromiter(map(index.get, texts, repeat(len(categories) + 1)), np.int64, len(texts))
    return np.bincount(places, minlength=len(categories) + 2).astype(np.int64)
