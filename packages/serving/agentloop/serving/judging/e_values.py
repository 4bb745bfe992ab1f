"""The mathematics of the judge: evidence against a null hypothesis that may be read at any time.

An e-process is a nonnegative process that starts at 1 and has, under every distribution of its
null hypothesis, an expectation of at most 1 at every stopping time. By Ville's inequality it ever
reaches 1/α with probability at most α (Grünwald, de Heide, Koolen, "Safe testing",
arXiv 1906.07801; Ramdas et al., "Game-theoretic statistics and safe anytime-valid inference",
arXiv 2210.01948). All functions here return the natural logarithm of one; a mean of e-processes is
one again, which is how several alternatives are held in readiness. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

# Alternatives to a limit, with the stake on each: multiples of it, and rates that are plainly bad.
_HIGHER = ((2.0, 0.35), (4.0, 0.3), (16.0, 0.15))
_HIGH_RATES = ((0.5, 0.1), (0.99, 0.1))
_LOWER = (0.6, 0.3, 0.05, 0.001)
_STAKES = (0.1, 0.3, 0.6, 0.9)


def log_mean_exp(logs: Sequence[float], stakes: Sequence[float] = ()) -> float:
    """The log of the mean of the exponentials, by ``stakes`` where given."""
    highest = max(logs)
    if not math.isfinite(highest):
        return highest
    weights = stakes or [1.0] * len(logs)
    total = sum(w * math.exp(v - highest) for v, w in zip(logs, weights, strict=True))
    return highest + math.log(total / sum(weights))


def rate_above(trials: float, events: float, limit: float) -> float:
    """Against "each trial is an event with probability at most ``limit``".

    For an alternative r the ratio of one trial is r/limit or (1 − r)/(1 − limit). A trial may also
    be a share x in [0, 1] (then ``events`` is their sum): a^x·b^(1−x) ≤ x·a + (1−x)·b, whose
    expectation is at most 1. With a limit of 0 one event is proof.
    """
    if limit >= 1:
        return 0.0
    if limit <= 0:
        return math.inf if events > 0 else 0.0
    rates = [(limit * factor, stake) for factor, stake in _HIGHER if limit * factor < 0.99]
    rates += [(rate, stake) for rate, stake in _HIGH_RATES if rate > limit]
    return _mixture(trials, events, limit, rates)


def rate_below(trials: float, events: float, limit: float) -> float:
    """Against "each trial is an event with probability at least ``limit``": evidence that the
    rate is lower, as ``rate_above`` is that it is higher."""
    if limit <= 0:
        return 0.0
    rates = [(limit * part, 1.0) for part in _LOWER]
    return _mixture(trials, events, min(limit, 0.999999), rates)


def _mixture(
    trials: float, events: float, limit: float, rates: Sequence[tuple[float, float]]
) -> float:
    """Over alternative ``rates``, each with its stake."""
    logs = [
        events * math.log(rate / limit) + (trials - events) * math.log((1 - rate) / (1 - limit))
        for rate, _ in rates
    ]
    return log_mean_exp(logs, [stake for _, stake in rates]) if logs else 0.0


def clean_trials_needed(trials: float, events: float, limit: float, bound: float) -> int:
    """How many more trials without an event bring ``rate_below`` to ``bound``."""
    if limit <= 0 or rate_below(trials, events, limit) >= bound:
        return 0
    low, high = 0, 1
    while rate_below(trials + high, events, limit) < bound:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        enough = rate_below(trials + middle, events, limit) >= bound
        low, high = (low, middle) if enough else (middle, high)
    return high


def mean_above(values: Iterable[float], limit: float, lowest: float) -> float:
    """Against "each value's mean, given those before it, is at most ``limit``".

    Values are at least ``lowest``, below ``limit``. A bet that stakes λ pays 1 + λ(v − limit);
    nothing is assumed of the values beyond their mean (Waudby-Smith & Ramdas, "Estimating means
    of bounded random variables by betting", arXiv 2010.09686).
    """
    logs = [0.0] * len(_STAKES)
    reach = limit - lowest
    if reach <= 0:
        return math.inf if any(value > limit for value in values) else 0.0
    for value in values:
        gain = (value - limit) / reach
        for index, stake in enumerate(_STAKES):
            logs[index] += math.log1p(stake * gain)
    return log_mean_exp(logs)


def share_differs(first: float, second: float, share: float, tolerance: float = 0.0) -> float:
    """Against "each of ``first + second`` is one of the first with probability ``share``", or with
    one within ``tolerance`` of it.

    The Bayes factor of a Beta prior around ``share`` (two categories of the Dirichlet-multinomial
    test of Lindon & Malek, arXiv 2011.03567), against the likeliest share that is allowed.
    """
    if not 0 < share < 1:
        return 0.0
    weight = 1 / min(share, 1 - share)
    a, b = weight * share, weight * (1 - share)
    likely = _log_beta(a + first, b + second) - _log_beta(a, b)
    seen = first / (first + second) if first + second else share
    allowed = min(max(seen, share - tolerance, 1e-9), share + tolerance, 1 - 1e-9)
    return likely - first * math.log(allowed) - second * math.log1p(-allowed)


def rate_interval(trials: float, events: float, alpha: float) -> tuple[float, float]:
    """A confidence sequence: it holds the rate at all times at once with probability 1 − alpha.

    The rates that the mixture of a Beta(1/2, 1/2) prior does not refute (Robbins 1970; Howard,
    Ramdas, McAuliffe & Sekhon, arXiv 1810.08240).
    """
    if trials <= 0:
        return 0.0, 1.0
    likely = _log_beta(0.5 + events, 0.5 + trials - events) - _log_beta(0.5, 0.5)

    def refuted(rate: float) -> bool:
        rate = min(max(rate, 1e-12), 1 - 1e-12)
        null = events * math.log(rate) + (trials - events) * math.log1p(-rate)
        return likely - null >= -math.log(alpha)

    middle = events / trials
    return _edge(refuted, 0.0, middle), _edge(refuted, 1.0, middle)


def _edge(refuted: Callable[[float], bool], outside: float, inside: float) -> float:
    if not refuted(outside):
        return outside
    for _ in range(40):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if refuted(middle) else (outside, middle)
    return outside


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
