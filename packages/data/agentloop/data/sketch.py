"""Summaries of a column that can be merged: the result depends on the values, not on the blocks.

Up to ``EXACT`` values a column are kept, so small data are profiled exactly. Above, quantiles come
from DDSketch (Masson, Rim and Lee 2019, arXiv 1908.10693) with a relative error of 0.5% and
distinct counts from the K smallest hashes (Bar-Yossef et al. 2002), within about 2%.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

EXACT = 65_536
SMALLEST = 4096
MAX_TEXTS = 4096
ACCURACY = 0.005

_LOG_GAMMA = float(np.log((1 + ACCURACY) / (1 - ACCURACY)))
_OFFSET = 1 << 20  # more than any |log_gamma(x)| of a float64, so that codes keep the sign's order

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Distinct:
    """The smallest distinct hashes seen, sorted."""

    smallest: Hashes

    def merge(self, other: Distinct) -> Distinct:
        return Distinct(np.union1d(self.smallest, other.smallest)[:SMALLEST])

    @property
    def estimate(self) -> int:
        """Exact below SMALLEST distinct values."""
        if len(self.smallest) < SMALLEST:
            return len(self.smallest)
        return round((SMALLEST - 1) / (float(self.smallest[-1]) / 2.0**64))


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers seen: ``values`` sorted, while there are few; else counts by DDSketch code."""

    count: int
    nulls: int
    mean: float
    squares: float
    minimum: float
    maximum: float
    distinct: Distinct
    values: Floats | None
    codes: Ints
    code_counts: Ints

    def merge(self, other: Numbers) -> Numbers:
        """Means and squares as Chan, Golub and LeVeque 1979."""
        count = self.count + other.count
        delta = other.mean - self.mean
        share = other.count / count if count else 0.0
        values: Floats | None = None
        if self.values is not None and other.values is not None and count <= EXACT:
            values = np.sort(np.concatenate([self.values, other.values]))
        codes, counts = (
            _merge_codes(self._coded(), other._coded()) if values is None else (_NONE, _NONE)
        )
        return Numbers(
            count,
            self.nulls + other.nulls,
            self.mean + delta * share,
            self.squares + other.squares + delta * delta * self.count * share,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.distinct.merge(other.distinct),
            values,
            codes,
            counts,
        )

    def points(self) -> tuple[Floats, Ints]:
        """Sorted values, or DDSketch's stand-ins for them, and how often each was seen."""
        if self.values is not None:
            points, counts = np.unique(self.values, return_counts=True)
            return points, counts.astype(np.int64)
        return np.clip(_decode(self.codes), self.minimum, self.maximum), self.code_counts

    def quantiles(self, probabilities: tuple[float, ...]) -> Floats:
        if self.values is not None:
            with np.errstate(over="ignore"):
                exact: Floats = np.quantile(self.values, probabilities)
            return exact
        points, counts = self.points()
        ranks = np.asarray(probabilities) * (self.count - 1)
        found: Floats = points[np.searchsorted(np.cumsum(counts), ranks, side="right")]
        return found

    def _coded(self) -> tuple[Ints, Ints]:
        if self.values is None:
            return self.codes, self.code_counts
        codes, counts = np.unique(_encode(self.values), return_counts=True)
        return codes, counts.astype(np.int64)


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts seen; ``counts`` is None once there are too many different ones."""

    count: int
    nulls: int
    distinct: Distinct
    counts: dict[str, int] | None

    def merge(self, other: Texts) -> Texts:
        counts: dict[str, int] | None = None
        if self.counts is not None and other.counts is not None:
            counts = dict(self.counts)
            for text, seen in other.counts.items():
                counts[text] = counts.get(text, 0) + seen
        return Texts(
            self.count + other.count,
            self.nulls + other.nulls,
            self.distinct.merge(other.distinct),
            counts if counts is not None and len(counts) <= MAX_TEXTS else None,
        )


Summary = Numbers | Texts
_NONE: Ints = np.empty(0, np.int64)


def summarise_numbers(values: Floats, nulls: int) -> Numbers:
    """``values`` float64 (rows,), finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(values.mean()) if values.size else 0.0
        squares = float(np.square(values - mean).sum())
    exact = np.sort(values) + 0.0  # no negative zero
    codes, counts = (_NONE, _NONE)
    if exact.size > EXACT:
        codes, counted = np.unique(_encode(exact), return_counts=True)
        counts = counted.astype(np.int64)
    return Numbers(
        int(values.size),
        nulls,
        mean,
        squares,
        float(exact[0]) if exact.size else np.inf,
        float(exact[-1]) if exact.size else -np.inf,
        Distinct(np.unique(hash_numbers(np.unique(exact)))[:SMALLEST]),
        exact if exact.size <= EXACT else None,
        codes,
        counts,
    )


def summarise_texts(counts: dict[str, int], nulls: int) -> Texts:
    hashes = np.unique(hash_texts(list(counts)))[:SMALLEST]
    kept = counts if len(counts) <= MAX_TEXTS else None
    return Texts(sum(counts.values()), nulls, Distinct(hashes), kept)


def merge_summaries(parts: list[dict[str, Summary]]) -> dict[str, Summary]:
    """One summary a column from those of all blocks."""

    def pair(a: dict[str, Summary], b: dict[str, Summary]) -> dict[str, Summary]:
        return {name: a[name].merge(b[name]) for name in a}  # type: ignore[arg-type]

    return reduce(pair, parts)


def hash_numbers(values: Floats) -> Hashes:
    """uint64 (rows,) by the finaliser of SplitMix64."""
    z = (values + 0.0).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = z ^ (z >> np.uint64(31))
    return mixed


def hash_texts(texts: list[str]) -> Hashes:
    digests = b"".join(hashlib.blake2b(t.encode(), digest_size=8).digest() for t in texts)
    return np.frombuffer(digests, np.uint64)


def _encode(values: Floats) -> Ints:
    size = np.where(values == 0, 1.0, np.abs(values))
    keys = np.ceil(np.log(size) / _LOG_GAMMA)
    return np.where(values == 0, 0.0, np.sign(values) * (keys + _OFFSET)).astype(np.int64)


def _decode(codes: Ints) -> Floats:
    keys = np.abs(codes) - _OFFSET
    size = 2 * np.exp(keys * _LOG_GAMMA) / (1 + np.exp(_LOG_GAMMA))
    decoded: Floats = np.where(codes == 0, 0.0, np.sign(codes) * size)
    return decoded


def _merge_codes(a: tuple[Ints, Ints], b: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    codes, place = np.unique(np.concatenate([a[0], b[0]]), return_inverse=True)
    counts = np.zeros(len(codes), np.int64)
    np.add.at(counts, place, np.concatenate([a[1], b[1]]))
    return codes, counts
