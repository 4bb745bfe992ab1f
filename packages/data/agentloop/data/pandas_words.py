"""Two independent hashes of many texts at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
_KEYS = ("agentloop row 00", "agentloop row 01")


def hash_texts_twice(texts: Any) -> tuple[Words, Words]:
    """Two uint64 (rows,) of a pyarrow string Array without nulls: SipHash under two keys, the same
    in every process."""
    from pandas.util import hash_array

    objects = np.asarray(texts.to_numpy(zero_copy_only=False), dtype=object)
    first, second = (hash_array(objects, hash_key=key, categorize=False) for key in _KEYS)
    return first, second
