"""Hash many texts at once, straight from Arrow's buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from agentloop.data.distinct import Hashes, hash_words

_SLICE = 4096  # texts whose intermediates stay in the cache


def hash_strings(texts: Any, salt: int = 0) -> Hashes:
    """uint64 (rows,) of a pyarrow string Array without nulls; the same in every process. Under
    another ``salt`` it is another, independent hash.

    Tabulation hashing (Carter and Wegman 1979; Zobrist 1970): the sum of a mixed word for each byte
    and its place, mixed with the length. No library has to be imported for it, which in a fresh
    worker would cost more than the hashing.
    """
    array = texts.cast(pa.large_string())
    if not len(array):
        return np.empty(0, np.uint64)
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset :][: len(array) + 1]
    data = array.buffers()[2]
    raw = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    parts = [
        _hash(raw, offsets[start : start + _SLICE + 1], np.uint64(salt))
        for start in range(0, len(array), _SLICE)
    ]
    return np.concatenate(parts)


def _hash(raw: np.ndarray, offsets: np.ndarray, salt: np.uint64) -> Hashes:
    lengths = np.diff(offsets)
    base = int(offsets[0])
    codes = raw[base : int(offsets[-1])].astype(np.uint64)
    starts = offsets[:-1] - base
    place = np.arange(len(codes), dtype=np.uint64) - np.repeat(starts.astype(np.uint64), lengths)
    words = hash_words((codes | place << np.uint64(8)) ^ salt)
    # Sums up to each end, modulo 2**64; empty texts sum up to nothing.
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(words, dtype=np.uint64)])
    total = sums[offsets[1:] - base] - sums[starts]
    ends = lengths.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return hash_words(total ^ ends ^ salt)
