"""Keys seen before, over many blocks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from agentloop.data.arrow_text_hash import hash_strings
from agentloop.data.seen import SeenKeys


@given(st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=8))
def test_a_key_is_repeated_when_it_came_before(blocks: list[list[int]]) -> None:
    seen, known = SeenKeys(), set[int]()
    for block in blocks:
        found = seen.repeated(np.array(block, np.uint64)).tolist()
        for key, repeated in zip(block, found, strict=True):
            assert repeated == (key in known)
            known.add(key)


def test_many_blocks_are_kept_in_few_runs() -> None:
    seen = SeenKeys()
    keys = np.random.default_rng(0).permutation(200_000).astype(np.uint64)
    for block in np.split(keys, 200):
        assert not seen.repeated(block).any()
    assert len(seen._runs) < 10
    assert seen.repeated(keys[:1000]).all()


def test_texts_hash_apart_and_the_same_however_they_are_cut() -> None:
    texts = pa.array(["", "a", "b", "ab", "ba", "aa", "ü", "a" * 300, *map(str, range(9000))])
    whole = hash_strings(texts)
    assert len(np.unique(whole)) == len(texts)
    cut = np.concatenate([hash_strings(texts.slice(0, 7)), hash_strings(texts.slice(7))])
    np.testing.assert_array_equal(cut, whole)
    assert not np.isin(hash_strings(texts, salt=1), whole).any()


def test_keys_that_count_up_need_no_memory_of_their_own() -> None:
    seen = SeenKeys()
    for start in (0, 2000, 1000, 3000):
        assert not seen.repeated(np.arange(start, start + 1000, dtype=np.uint64)[::-1]).any()
    assert (seen._runs, seen._spans) == ([], [(0, 3999)])
    found = seen.repeated(np.array([3999, 4000, 4000, 0], np.uint64))
    assert found.tolist() == [True, False, True, True]
