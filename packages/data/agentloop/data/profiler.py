"""From the merged summaries of a batch's row groups to its profile."""

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
    distinct = min(summary.distinct.estimate, summary.count)
    if isinstance(summary, Texts):
        return ColumnProfile(
            spec.name,
            spec.kind,
            summary.count,
            summary.nulls,
            distinct,
            top=_top(summary),
            top_error=summary.error,
        )
    if summary.count == 0:
        return ColumnProfile(spec.name, spec.kind, 0, summary.nulls, 0)
    if spec.kind == "boolean":
        return _boolean(spec, summary)
    quantiles = summary.quantiles(PROBABILITIES)
    return ColumnProfile(
        spec.name,
        spec.kind,
        summary.count,
        summary.nulls,
        len(summary.points()[0]) if summary.ranks.exact and spec.kind == "number" else distinct,
        summary.minimum,
        summary.maximum,
        _finite(summary.mean),
        _finite(math.sqrt(summary.squares / (summary.count - 1))) if summary.count > 1 else 0.0,
        {f"{p:g}": float(q) for p, q in zip(PROBABILITIES, quantiles, strict=True)},
        _histogram(summary),
    )


def _boolean(spec: ColumnSchema, summary: Numbers) -> ColumnProfile:
    """Both values with their counts; the mean is the share that is true."""
    points, weights = summary.points()
    counts = [("true" if p else "false", int(n)) for p, n in zip(points, weights, strict=True)]
    top = tuple(sorted(counts, key=lambda item: (-item[1], item[0])))
    return ColumnProfile(
        spec.name, spec.kind, summary.count, summary.nulls, len(top), mean=summary.mean, top=top
    )


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
    ranked = sorted(summary.counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(ranked[:TOP])
