"""The fixed-size, mergeable counts that a replica folds predictions into. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.lifecycle.reference import Counts, ReferenceProfile

# Seconds; the last bucket is open.
LATENCY_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

OTHER = "other"
MAX_ENDPOINTS = 32
MAX_ENDPOINT_CHARS = 64


@dataclass(frozen=True, slots=True)
class LatencyCounts:
    """``buckets`` (14,): how many took at most each bound of LATENCY_BOUNDS, then longer."""

    buckets: tuple[int, ...] = (0,) * (len(LATENCY_BOUNDS) + 1)
    seconds: float = 0.0

    def __add__(self, other: LatencyCounts) -> LatencyCounts:
        both = zip(self.buckets, other.buckets, strict=True)
        return LatencyCounts(tuple(a + b for a, b in both), self.seconds + other.seconds)


@dataclass(frozen=True, slots=True)
class FlushMessage:
    """What one replica saw since its last flush.

    ``counts`` are little-endian uint32, all columns' bins and then the prediction's; ``sequence``
    counts a replica's messages from 1, so that a retry is recognised; ``requests`` holds (endpoint,
    status, number) and ``answered`` the live predictions (rows) of 2xx answers.
    """

    model: str
    version: str
    replica: str
    sequence: int
    edge_hash: str
    counts: bytes
    answered: int
    requests: tuple[tuple[str, int, int], ...]
    latencies: tuple[tuple[str, LatencyCounts], ...]


class CountLayout:
    """Where each column's bins lie in one flat vector: columns in order, then the prediction."""

    def __init__(self, profile: ReferenceProfile) -> None:
        self.columns = (*profile.columns, profile.prediction)
        self._cuts = np.cumsum([column.bins for column in self.columns])[:-1]
        self.size = sum(column.bins for column in self.columns)

    def empty(self) -> Counts:
        return np.zeros(self.size, np.int64)

    def split(self, flat: Counts) -> list[Counts]:
        """Views (bins,) of each column's part of ``flat`` (size,)."""
        return list(np.split(flat, self._cuts))

    def fold(self, columns: Mapping[str, Any], labels: Any) -> Counts:
        """int64 (size,): feature ``columns`` (rows,) each, and ``labels`` (rows,), in their bins.

        Raises KeyError for a missing column, ValueError for text where numbers belong.
        """
        parts = [column.fold(columns[column.name]) for column in self.columns[:-1]]
        return np.concatenate([*parts, self.columns[-1].fold(labels)])

    def encode(self, flat: Counts) -> bytes:
        return flat.astype("<u4").tobytes()

    def decode(self, counts: bytes) -> Counts:
        """Raises ValueError unless ``counts`` is exactly of this layout."""
        flat: npt.NDArray[Any] = np.frombuffer(counts, "<u4")
        if flat.size != self.size:
            raise ValueError(f"{flat.size} counts where {self.size} bins are")
        return flat.astype(np.int64)


class RequestTally:
    """Requests by (endpoint, status) and latency by endpoint, with a bounded set of endpoints."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], int] = {}
        self._latency: dict[str, tuple[list[int], float]] = {}

    def add(self, endpoint: str, status: int, seconds: float) -> None:
        name = self._bounded(endpoint)
        key = (name, status)
        self.requests[key] = self.requests.get(key, 0) + 1
        buckets, total = self._latency.get(name) or ([0] * (len(LATENCY_BOUNDS) + 1), 0.0)
        buckets[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self._latency[name] = (buckets, total + seconds)

    def latencies(self) -> tuple[tuple[str, LatencyCounts], ...]:
        return tuple(
            (name, LatencyCounts(tuple(buckets), total))
            for name, (buckets, total) in self._latency.items()
        )

    def _bounded(self, endpoint: str) -> str:
        name = endpoint[:MAX_ENDPOINT_CHARS]
        if name in self._latency or len(self._latency) < MAX_ENDPOINTS:
            return name
        return OTHER
