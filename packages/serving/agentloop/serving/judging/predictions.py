"""Does the canary predict something else than the stable version? Pure.

The null hypothesis is that in every block the two distributions are within ``max_prediction_shift``
of each other in total variation, that is, for every set A of classes P_canary(A) − P_stable(A) is
at most the limit. Before each block A is chosen: the classes that the canary has predicted more
often than stable so far (a predictive witness, as in Podkopaev & Ramdas, arXiv 2305.00143, and
Shekhar & Ramdas, arXiv 2112.09162). On this A the block's two rates are compared as in
``two_sample``. Both versions see a random part of the same traffic, so what the traffic does from
block to block cancels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from agentloop.serving.judging.evidence import Evidence, Finding, Limits, PredictionBlock
from agentloop.serving.judging.two_sample import RateBlock, RateProcess

# Regression bins are named GROUP:BIN, a class stands in the group of "": see PredictionBins.


def prediction_findings(steps: Sequence[Evidence], limits: Limits) -> tuple[Finding, ...]:
    if limits.max_prediction_shift is None:
        return ()
    claim = (
        "the canary's predictions are distributed otherwise than the stable version's, by more "
        f"than {limits.max_prediction_shift:.2%}"
    )
    log_e = shift_evidence(_blocks(steps), limits.max_prediction_shift)
    return (Finding("predictions", log_e, claim),)


def shift_evidence(blocks: Iterable[PredictionBlock], limit: float) -> float:
    """The log of the e-process against "the distributions are within ``limit``"."""
    process = RateProcess(limit)
    canary: dict[str, float] = {}
    stable: dict[str, float] = {}
    for block in blocks:
        first, second = sum(canary.values()), sum(stable.values())
        if first and second:
            chosen = {k for k, n in canary.items() if n / first > stable.get(k, 0.0) / second}
            rates = RateBlock(
                sum(block.canary.values()),
                _within(block.canary, chosen),
                sum(block.stable.values()),
                _within(block.stable, chosen),
            )
            process.bet(
                rates,
                (_within(canary, chosen) + 0.5) / (first + 1),
                (_within(stable, chosen) + 0.5) / (second + 1),
            )
        _add(canary, block.canary)
        _add(stable, block.stable)
    return process.log_e


def prediction_numbers(steps: Sequence[Evidence], limits: Limits) -> dict[str, float]:
    if limits.max_prediction_shift is None:
        return {}
    canary: dict[str, float] = {}
    stable: dict[str, float] = {}
    for block in _blocks(steps):
        _add(canary, block.canary)
        _add(stable, block.stable)
    first, second = sum(canary.values()), sum(stable.values())
    apart = sum(
        abs(canary.get(k, 0.0) / first - stable.get(k, 0.0) / second)
        for k in canary.keys() | stable.keys()
        if first and second
    )
    return {"canary_predictions": first, "prediction_shift": apart / 2}


def common_bins(
    canary: Mapping[str, float], stable: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """The counts of both in the first group of bins that both know; empty where there is none.

    Two versions of a regression bin by quantiles of their own training data, and a new one by
    those of the version that was stable when it started as well.
    """
    groups = {_group(k) for k in canary} & {_group(k) for k in stable}
    if not groups:
        return {}, {}
    group = min(groups)
    return (
        {k: n for k, n in canary.items() if _group(k) == group},
        {k: n for k, n in stable.items() if _group(k) == group},
    )


def _group(name: str) -> str:
    return name.split(":", 1)[0]


def _blocks(steps: Sequence[Evidence]) -> list[PredictionBlock]:
    return [block for step in steps for block in step.predictions]


def _within(counts: Mapping[str, float], chosen: set[str]) -> float:
    return sum(n for name, n in counts.items() if name in chosen)


def _add(total: dict[str, float], more: Mapping[str, float]) -> None:
    for name, number in more.items():
        total[name] = total.get(name, 0.0) + number
