"""Hash many texts at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from agentloop.data.distinct import Hashes


def hash_strings(texts: Any) -> Hashes:
    """uint64 (rows,) of a pyarrow string Array without nulls: SipHash with a fixed key, the same in
    every process. Ten times as fast as hashing one by one."""
    from pandas.util import hash_array

    objects = np.asarray(texts.to_numpy(zero_copy_only=False), dtype=object)
    hashes: Hashes = hash_array(objects, categorize=False)
    return hashes
