"""From the merged summaries of a batch's blocks to its profile."""

from __future__ import annotations

import math

import numpy as np

from agentloop.contracts.data import ColumnProfile, ColumnSchema, DataProfile
from agentloop.data.batch import TransformedBatch
from agentloop.data.sketch import Numbers, Summary, Texts

PROBABILITIES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 20
TOP = 20


class DataProfiler:
    """Describes the rows that a batch's one pass let through."""

    async def profile(self, batch: TransformedBatch) -> DataProfile:
        return build_profile(batch)


def build_profile(batch: TransformedBatch) -> DataProfile:
    columns = tuple(_column(spec, batch.summaries[spec.name]) for spec in batch.schema.columns)
    return DataProfile(batch.rows, columns)


def _column(spec: ColumnSchema, summary: Summary) -> ColumnProfile:
    distinct = summary.distinct.estimate
    if isinstance(summary, Texts):
        return ColumnProfile(
            spec.name, spec.kind, summary.count, summary.nulls, distinct, top=_top(summary)
        )
    if summary.count == 0:
        return ColumnProfile(spec.name, spec.kind, 0, summary.nulls, 0)
    mean, squares = _moments(summary)
    quantiles = np.clip(summary.quantiles(PROBABILITIES), summary.minimum, summary.maximum)
    return ColumnProfile(
        spec.name,
        spec.kind,
        summary.count,
        summary.nulls,
        len(np.unique(summary.values)) if summary.values is not None else distinct,
        summary.minimum,
        summary.maximum,
        _finite(mean),
        _finite(math.sqrt(squares / (summary.count - 1))) if summary.count > 1 else 0.0,
        {f"{p:g}": float(q) for p, q in zip(PROBABILITIES, quantiles, strict=True)},
        _histogram(summary),
    )


def _moments(summary: Numbers) -> tuple[float, float]:
    """Mean and sum of squares around it. From the sorted values where they are kept, so that
    not even the last bit depends on the blocks; else rounded to 12 digits."""
    if summary.values is None:
        return float(f"{summary.mean:.12g}"), float(f"{summary.squares:.12g}")
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(summary.values.mean())
        return mean, float(np.square(summary.values - mean).sum())


def _finite(value: float) -> float | None:
    """None for a moment that float64 cannot hold: the profile is JSON."""
    return value if math.isfinite(value) else None


def _histogram(summary: Numbers) -> tuple[tuple[float, ...], tuple[int, ...]]:
    points, weights = summary.points()
    low, high = summary.minimum, summary.maximum
    if not math.isfinite(high - low) or high <= low:
        return (low, high), (summary.count,)
    counts, edges = np.histogram(points, bins=BINS, range=(low, high), weights=weights)
    return tuple(edges.tolist()), tuple(int(n) for n in counts)


def _top(summary: Texts) -> tuple[tuple[str, int], ...]:
    counts = summary.counts or {}
    ranked = sorted(counts, key=lambda text: (-counts[text], text))
    return tuple((text, counts[text]) for text in ranked[:TOP])
