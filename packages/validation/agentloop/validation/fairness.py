"""Does it serve every group alike? Pure.

Judged is the gap in accuracy between the best and the worst served group. The gap in positive rate
is reported: groups may differ in truth. A group of few rows is shown, not compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.models import Check
from agentloop.contracts.spec import GateSpec
from agentloop.lifecycle.features import to_texts
from agentloop.validation.candidate import Candidate
from agentloop.validation.stats import DRAWS, Interval, r2, wilson
from agentloop.validation.suites import measured, observed, unmeasured

MIN_GROUP_ROWS = 20
MAX_GROUPS = 12
QUARTERS = (0.25, 0.5, 0.75)

Groups = dict[str, npt.NDArray[np.intp]]


def fairness_checks(
    candidate: Candidate, answers: npt.NDArray[Any], spec: GateSpec, rng: np.random.Generator
) -> Iterator[Check]:
    """Every sensitive column: each group's quality, and the gaps."""
    if not spec.sensitive:
        yield unmeasured("group_gap", "no sensitive column is declared (validation.sensitive)")
    for column in spec.sensitive:
        if column not in candidate.columns:
            message = f"'{column}' is declared sensitive, but the model's data have no such column"
            yield observed(f"group_gap:{column}", False, message, samples=0)
            continue
        yield from _column_checks(candidate, answers, column, spec, rng)


def groups_of(values: npt.NDArray[Any]) -> Groups:
    """Row positions of each group: a category, a quarter of a number's range, or ``missing``.

    Past twelve categories the rarest are put together.
    """
    if values.dtype.kind == "f" and len(np.unique(values[~np.isnan(values)])) > MAX_GROUPS:
        cuts = np.nanquantile(values, QUARTERS)
        quarter = np.searchsorted(cuts, values, side="right")
        names = [f"quarter {q + 1}" for q in quarter]
        texts = ["missing" if np.isnan(v) else n for v, n in zip(values, names, strict=True)]
    else:
        texts = [text if text is not None else "missing" for text in to_texts(values)]
    sizes = {text: texts.count(text) for text in set(texts)}
    kept = set(sorted(sizes, key=lambda text: (-sizes[text], text))[:MAX_GROUPS])
    labels = np.array([text if text in kept else "others" for text in texts], object)
    return {name: np.flatnonzero(labels == name) for name in sorted(set(labels))}


def _column_checks(
    candidate: Candidate,
    answers: npt.NDArray[Any],
    column: str,
    spec: GateSpec,
    rng: np.random.Generator,
) -> Iterator[Check]:
    groups = groups_of(candidate.columns[column])
    right = (answers == candidate.truth).astype(float)
    for name, rows in groups.items():
        if candidate.regression:
            value = r2(candidate.truth[rows], answers[rows])
            quality = Interval(value, value, value)
        else:
            quality = wilson(int(right[rows].sum()), len(rows))
        message = f"{candidate.metric} {quality.value:.4f} [{quality.low:.4f}, {quality.high:.4f}]"
        yield measured(
            f"group:{column}={name}", quality, len(rows), None, None, f"{message} on {len(rows)}"
        )
    large = {name: rows for name, rows in groups.items() if len(rows) >= MIN_GROUP_ROWS}
    if candidate.regression or len(large) < 2:
        reason = (
            "gaps are measured for classes" if candidate.regression else "fewer than two groups"
        )
        tail = "" if candidate.regression else f" of '{column}' have {MIN_GROUP_ROWS} rows"
        yield unmeasured(f"group_gap:{column}", f"{reason}{tail}", spec.max_group_gap)
        return
    yield _gap_check(f"group_gap:{column}", "accuracy", right, large, spec.max_group_gap, rng)
    if candidate.signature.task == "binary":
        positive = (answers == candidate.signature.classes[-1]).astype(float)
        yield _gap_check(f"positive_rate_gap:{column}", "positive rate", positive, large, None, rng)


def _gap_check(
    name: str,
    what: str,
    values: npt.NDArray[np.float64],
    groups: Groups,
    limit: float | None,
    rng: np.random.Generator,
) -> Check:
    means = {group: float(values[rows].mean()) for group, rows in groups.items()}
    best, worst = max(means, key=lambda g: means[g]), min(means, key=lambda g: means[g])
    gap = _difference(values[groups[best]], values[groups[worst]], rng)
    # Best and worst were picked for being so: refuse on evidence, not on the value alone.
    passed = None if limit is None else gap.low <= limit
    against = "reported, not judged" if limit is None else f"at most {limit:g}"
    message = f"{what} differs by {gap.value:.4f} [{gap.low:.4f}, {gap.high:.4f}] between "
    samples = sum(len(rows) for rows in groups.values())
    return measured(name, gap, samples, limit, passed, f"{message}{best} and {worst}, {against}")


def _difference(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], rng: np.random.Generator
) -> Interval:
    """Difference of two proportions, resampled from Beta posteriors with Jeffreys' prior, which
    keeps its width where a group is answered all right."""
    draws = [
        rng.beta(v.sum() + 0.5, len(v) - v.sum() + 0.5, size=4 * DRAWS) for v in (first, second)
    ]
    low, high = np.quantile(draws[0] - draws[1], (0.025, 0.975))
    return Interval(float(first.mean() - second.mean()), float(low), float(high))
