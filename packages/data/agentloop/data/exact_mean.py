"""A mean that does not depend on how its numbers were cut into blocks, to the last bit.

Every float is a whole number times a power of two, so a sum of floats can be kept exactly as one
long integer (Kulisch 1986, "exact dot product"); only the final division rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

# The smallest float above 0 is 2**-1074.
_SCALE = 1074
_LOW_BITS = 26
# 27 bits of a mantissa, summed as floats, stay exact for this many rows.
_MAX_ROWS = 1 << 25


@dataclass(frozen=True, slots=True)
class ExactSum:
    """``total`` is the sum of the numbers times 2**1074."""

    count: int = 0
    total: int = 0

    def merge(self, other: ExactSum) -> ExactSum:
        return ExactSum(self.count + other.count, self.total + other.total)

    @property
    def mean(self) -> float | None:
        """The float nearest to the mean; None without numbers."""
        if not self.count:
            return None
        return float(Fraction(self.total, self.count << _SCALE))


def sum_exactly(values: npt.NDArray[np.float64]) -> ExactSum:
    """``values``: float64 (rows,), finite."""
    total = 0
    for start in range(0, len(values), _MAX_ROWS):
        total += _sum_some(values[start : start + _MAX_ROWS])
    return ExactSum(len(values), total)


def _sum_some(values: npt.NDArray[np.float64]) -> int:
    mantissas, exponents = np.frexp(values)
    whole = np.ldexp(mantissas, 53).astype(np.int64)
    least = int(exponents.min())
    places = exponents - least
    high = np.bincount(places, weights=(whole >> _LOW_BITS).astype(np.float64))
    low = np.bincount(places, weights=(whole & ((1 << _LOW_BITS) - 1)).astype(np.float64))
    total = 0
    for place, (above, below) in enumerate(zip(high.tolist(), low.tolist(), strict=True)):
        if above or below:
            units = (int(above) << _LOW_BITS) + int(below)
            shift = place + least - 53 + _SCALE
            # A subnormal's mantissa has zeros where the shift is below 0.
            total += units << shift if shift >= 0 else units >> -shift
    return total
