"""What tells a row from all others: a hash of its values, the same in any block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from agentloop.data.arrow_text_hash import hash_strings
from agentloop.data.distinct import Hashes, hash_words

Words = Hashes

# Digits of pi.
_NULL = (np.uint64(0xA4093822299F31D0), np.uint64(0x082EFA98EC4E6C89))
# Texts that repeat among the first ones are each hashed once.
_LOOKED_AT = 1024
_SALTS = (np.uint64(0x243F6A8885A308D3), np.uint64(0x13198A2E03707344))


def duplicate_keys(table: pa.Table, columns: Sequence[str] = ()) -> Words:
    """uint64 (rows, 2): 128 bits that are equal for rows that are equal in ``columns`` (all of the
    table's, in its order, if none is named). Null equals null, and 0.0 equals -0.0.

    Two different rows among n collide with a probability of about n² / 2¹²⁹: 1.3e-24 for 30
    million rows (birthday bound).
    """
    lanes = [np.full(table.num_rows, salt, np.uint64) for salt in _SALTS]
    for name in columns or table.column_names:
        words = _words(table.column(name))
        for lane, (state, word) in enumerate(zip(lanes, words, strict=True)):
            # Order matters, so that (a, b) is not (b, a).
            lanes[lane] = hash_words(state * np.uint64(0x9FB21C651E98DF25) + word)
    return np.stack(lanes, axis=1)


def _words(column: Any) -> tuple[Words, Words]:
    """Two words for each value, which differ where values do."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        first, second = _text_words(array)
    else:
        first = _number_words(array)
        second = hash_words(first ^ _SALTS[1])
        first = hash_words(first)
    if array.null_count:
        null = array.is_null().to_numpy(zero_copy_only=False)
        first, second = np.where(null, _NULL[0], first), np.where(null, _NULL[1], second)
    return first, second


def _number_words(array: pa.Array) -> Words:
    if pa.types.is_floating(array.type):
        floats = array.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False)
        words: Words = (floats + 0.0).view(np.uint64)
        return words
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    whole = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return whole.astype(np.int64).view(np.uint64)


def _text_words(array: pa.Array) -> tuple[Words, Words]:
    array = array.fill_null("")
    head = array.slice(0, _LOOKED_AT)
    if len(head.unique()) * 2 > len(head):
        return _twice(array)
    coded = array.dictionary_encode()
    first, second = _twice(coded.dictionary)
    places = coded.indices.to_numpy()
    return first[places], second[places]


def _twice(texts: pa.Array) -> tuple[Words, Words]:
    return hash_strings(texts, int(_SALTS[0])), hash_strings(texts, int(_SALTS[1]))
