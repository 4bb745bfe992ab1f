"""Summaries of a column that can be merged.

Merged in row order from groups that do not depend on blocks, they are the same whatever the number
of blocks. Their size does not depend on the number of rows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import reduce

import numpy as np

from agentloop.data.distinct import Distinct, Hashes, from_hashes, hash_words, of_sorted_words
from agentloop.data.ranks import Floats, Ints, Ranks, rank_group

EXACT = 65_536
MAX_TEXTS = 4096

__all__ = [
    "EXACT",
    "Distinct",
    "Floats",
    "Hashes",
    "Ints",
    "Numbers",
    "Summary",
    "Texts",
    "hash_numbers",
    "hash_texts",
    "hash_words",
    "merge_summaries",
    "summarise_numbers",
    "summarise_texts",
]


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers seen. ``squares`` is the sum of squares around ``mean``."""

    count: int
    nulls: int
    mean: float
    squares: float
    minimum: float
    maximum: float
    distinct: Distinct
    ranks: Ranks

    def merge(self, other: Numbers) -> Numbers:
        """Means and squares as Chan, Golub and LeVeque 1979."""
        if not other.count or not self.count:
            known, empty = (self, other) if self.count else (other, self)
            return Numbers(
                known.count,
                known.nulls + empty.nulls,
                known.mean,
                known.squares,
                known.minimum,
                known.maximum,
                known.distinct,
                known.ranks,
            )
        count = self.count + other.count
        with np.errstate(over="ignore", invalid="ignore"):
            delta = np.float64(other.mean) - self.mean
            mean = float(self.mean + delta * (other.count / count))
            spread = float(delta * delta * self.count * (other.count / count))
        return Numbers(
            count,
            self.nulls + other.nulls,
            mean,
            self.squares + other.squares + spread,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.distinct.merge(other.distinct),
            self.ranks.merge(other.ranks),
        )

    def points(self) -> tuple[Floats, Ints]:
        """Sorted values, or stand-ins for them, and how many each stands for."""
        return self.ranks.points()

    def quantiles(self, probabilities: tuple[float, ...]) -> Floats:
        """Within 0.1% of the asked-for rank; exact where few values were seen."""
        return np.clip(self.ranks.quantiles(probabilities), self.minimum, self.maximum)


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts seen. ``counts`` holds the most frequent ones; each is too low by at most ``error``,
    0 while there are few different texts (Misra and Gries 1982; mergeable: Agarwal et al. 2012)."""

    count: int
    nulls: int
    distinct: Distinct
    counts: dict[str, int]
    error: int = 0

    def merge(self, other: Texts) -> Texts:
        counts = dict(self.counts)
        for text, seen in other.counts.items():
            counts[text] = counts.get(text, 0) + seen
        counts, lost = _most_frequent(counts)
        return Texts(
            self.count + other.count,
            self.nulls + other.nulls,
            self.distinct.merge(other.distinct),
            counts,
            self.error + other.error + lost,
        )


Summary = Numbers | Texts


def summarise_numbers(
    values: Floats | Ints, nulls: int, keep_all: bool | None = None, per_unit: float = 1.0
) -> Numbers:
    """``values`` float64 or int64 (rows,), finite; ``per_unit`` of them make one (1e6 for
    microseconds that are summarised as seconds). Up to ``EXACT`` values are all kept unless
    ``keep_all`` says otherwise."""
    if not values.size:
        empty = from_hashes(np.empty(0, np.uint64))
        return Numbers(0, nulls, 0.0, 0.0, np.inf, -np.inf, empty, Ranks())
    raw = np.sort(values)
    if raw.dtype.kind == "f":
        np.add(raw, 0.0, out=raw)  # no negative zero
    ordered: Floats = raw.astype(np.float64, copy=False)
    if per_unit != 1.0:
        ordered = ordered / per_unit
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(ordered.mean())
        squares = float(np.square(ordered - mean).sum())
    keep = values.size <= EXACT if keep_all is None else keep_all
    return Numbers(
        int(values.size),
        nulls,
        mean,
        squares,
        float(ordered[0]),
        float(ordered[-1]),
        of_sorted_words(raw.view(np.uint64)),
        rank_group(ordered, keep),
    )


def summarise_texts(counts: dict[str, int], nulls: int, hashes: Hashes | None = None) -> Texts:
    """``counts``: how often each text was seen; ``hashes`` of its keys where they are known."""
    if hashes is None:
        hashes = hash_texts(list(counts))
    kept, lost = _most_frequent(counts)
    return Texts(sum(counts.values()), nulls, from_hashes(np.unique(hashes)), kept, lost)


def merge_summaries(parts: list[dict[str, Summary]]) -> dict[str, Summary]:
    """One summary a column from those of all groups, in order."""

    def pair(a: dict[str, Summary], b: dict[str, Summary]) -> dict[str, Summary]:
        return {name: a[name].merge(b[name]) for name in a}  # type: ignore[arg-type]

    return reduce(pair, parts)


def hash_numbers(values: Floats) -> Hashes:
    """uint64 (rows,); 0.0 and -0.0 are equal."""
    return hash_words((values + 0.0).view(np.uint64))


def hash_texts(texts: list[str]) -> Hashes:
    digests = b"".join(hashlib.blake2b(t.encode(), digest_size=8).digest() for t in texts)
    return np.frombuffer(digests, np.uint64)


def _most_frequent(counts: dict[str, int]) -> tuple[dict[str, int], int]:
    """At most ``MAX_TEXTS`` of them, and what was taken off each."""
    if len(counts) <= MAX_TEXTS:
        return counts, 0
    lost = int(np.partition(np.fromiter(counts.values(), np.int64), -MAX_TEXTS - 1)[-MAX_TEXTS - 1])
    return {text: seen - lost for text, seen in counts.items() if seen > lost}, lost
