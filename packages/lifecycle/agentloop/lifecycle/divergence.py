"""How far apart two sets of bin counts are: used by the gate and by monitoring alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt


def jensen_shannon(reference: npt.NDArray[Any], live: npt.NDArray[Any]) -> float:
    """Jensen–Shannon distance, base 2, in [0, 1], between counts (bins,) of the same bins.

    The square root of the divergence (Lin 1991) less its small-sample bias,
    (K − 1)/(8 ln 2)·(1/n + 1/m) for K bins in use, so that two samples of one distribution are
    near 0 whatever their size. A shift of a normal column by a quarter sigma is about 0.105.
    0.0 where either side is empty: nothing was seen that differs.
    """
    m, n = float(reference.sum()), float(live.sum())
    if not m or not n:
        return 0.0
    p, q = reference / m, live / n
    middle = (p + q) / 2
    used = middle > 0
    divergence = _half_divergence(p[used], middle[used]) + _half_divergence(q[used], middle[used])
    bias = (int(used.sum()) - 1) / (8 * math.log(2)) * (1 / n + 1 / m)
    return math.sqrt(min(1.0, max(0.0, divergence - bias)))


def _half_divergence(p: npt.NDArray[np.float64], middle: npt.NDArray[np.float64]) -> float:
    ratio = np.where(p > 0, p / middle, 1.0)
    return 0.5 * float((p * np.log2(ratio)).sum())
