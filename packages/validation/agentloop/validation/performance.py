"""Is it good enough, no worse than the champion, and fast enough? Pure.

Rules. An absolute limit on quality is held by the measured value; the interval says how sure that
is. Against the champion, and for latency, the burden of proof is on the objection: the candidate is
refused only if the whole 95% interval lies beyond the limit, so that few rows, or one slow moment
of a busy machine, refuse nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.models import Check
from agentloop.contracts.spec import GateSpec
from agentloop.validation.candidate import Candidate
from agentloop.validation.http_replica import LoadSample
from agentloop.validation.stats import Interval, mcnemar_exact, quantile_interval
from agentloop.validation.suites import measured, unmeasured


def quality_check(
    candidate: Candidate, answers: npt.NDArray[Any], spec: GateSpec, rng: np.random.Generator
) -> Check:
    """Accuracy (R² for regression) of ``answers`` on the held-out rows against the least."""
    quality, limit = candidate.quality(answers, rng), spec.min_accuracy
    passed = quality.value >= limit
    sure = "" if passed and quality.low >= limit else " (the interval spans the limit)"
    if not passed and quality.high < limit:
        sure = ""
    message = f"{candidate.metric} {_shown(quality)} on {candidate.rows} held-out rows, at least "
    return measured(
        "accuracy", quality, candidate.rows, limit, passed, f"{message}{limit:.4g}{sure}"
    )


def champion_check(
    candidate: Candidate,
    answers: npt.NDArray[Any],
    champion: npt.NDArray[Any],
    name: str,
    spec: GateSpec,
    rng: np.random.Generator,
) -> Check:
    """Candidate less champion on the candidate's held-out rows, paired.

    ``answers`` and ``champion`` (rows,). Fails only if the interval's upper end is below
    −max_regression: evidence of a regression beyond the margin.
    """
    drop = candidate.drop(champion, answers, rng)
    gain = Interval(-drop.value, -drop.high, -drop.low)
    passed = gain.high >= -spec.max_regression
    message = f"{candidate.metric} {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] against "
    message += f"the champion {name}, on the same rows"
    if not candidate.regression:
        right, theirs = answers == candidate.truth, champion == candidate.truth
        p = mcnemar_exact(int((right & ~theirs).sum()), int((theirs & ~right).sum()))
        message += f"; McNemar exact p = {p:.3g}"
    return measured(
        "champion_difference", gain, candidate.rows, -spec.max_regression, passed, message
    )


def load_checks(sample: LoadSample | None, spec: GateSpec) -> Iterator[Check]:
    """Latency and throughput of one-row requests to the staged replica."""
    if sample is None or not len(sample.latencies_ms):
        reason = "no replica was staged" if sample is None else "no request was answered"
        for name, limit in (
            ("latency_p50_ms", None),
            ("latency_p99_ms", spec.max_p99_ms),
            ("throughput_rps", None),
        ):
            yield unmeasured(name, reason, limit)
        return
    n = len(sample.latencies_ms)
    p50 = quantile_interval(sample.latencies_ms, 0.5)
    yield measured("latency_p50_ms", p50, n, None, None, f"p50 {_shown(p50)} ms of {n} requests")
    p99 = quantile_interval(sample.latencies_ms, 0.99)
    yield measured(
        "latency_p99_ms",
        p99,
        n,
        spec.max_p99_ms,
        p99.low <= spec.max_p99_ms,
        f"p99 {_shown(p99)} ms of {n} requests one after another, at most {spec.max_p99_ms:g}",
    )
    rate = sample.parallel_requests / sample.parallel_seconds
    # Counts in a fixed time are near Poisson.
    half = 1.96 * np.sqrt(sample.parallel_requests) / sample.parallel_seconds
    yield measured(
        "throughput_rps",
        Interval(rate, float(rate - half), float(rate + half)),
        sample.parallel_requests,
        None,
        None,
        f"{rate:,.0f} requests a second over {sample.connections} connections",
    )


def _shown(interval: Interval) -> str:
    return f"{interval.value:.4g} [{interval.low:.4g}, {interval.high:.4g}]"
