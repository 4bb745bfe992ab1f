"""The judge in simulation: how often it is wrong, and how soon it is right.

Every rollout is judged at every request; a rule that is asked so often and is not made for it
finds something in nearly every rollout. ``run`` gives rows and targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from judge_fast import below, disagreements, evidence, so_far
from judge_rivals import EVERY, mann_whitney_alarms, threshold_alarms
from judge_rollouts import roll_out
from judge_worlds import (
    Flags,
    Floats,
    Traffic,
    Truth,
    at_its_limits,
    constant,
    draw,
    same_version,
)

from agentloop.serving.judging.decision import SPLIT_BOUND, Limits

PERCENTS = (1.0, 5.0, 10.0, 25.0, 50.0, 100.0)
STEP_REQUESTS = 2000
ROLLOUTS = 1000
BATCH = 100
LIMITS = Limits(
    min_requests=50,
    max_error_rate=0.01,
    latency_budget_ms=100.0,
    max_slow_rate=0.05,
    max_disagreement=0.02,
    max_prediction_shift=0.1,
    max_accuracy_loss=0.02,
)

Rows = list[dict[str, Any]]


def run(quick: bool) -> tuple[Rows, Rows]:
    """All rollouts are the same thousand either way; ``quick`` draws fewer bad versions."""
    truth = same_version(STEP_REQUESTS, PERCENTS)
    rows, wrong = _innocent("the same version, through daily cycles", truth, rivals=True)
    worst, wrong_too = _innocent(
        "a version exactly at all its limits", at_its_limits(STEP_REQUESTS, PERCENTS), rivals=False
    )
    rows += worst
    targets = [
        _at_most("judge: false rollbacks of 1,000 versions against themselves", wrong, 10),
        _at_most("judge: rollbacks of 1,000 versions exactly at all limits", wrong_too, 10),
    ]
    found, caught = _bad_versions(100 if quick else 1000)
    rows += found
    targets.append(
        {
            "name": "judge: +2 points of errors at 5% of the traffic, caught",
            "value": caught,
            "unit": "%",
            "direction": "at least",
            "target": 95.0,
            "holds": bool(caught >= 95.0),
        }
    )
    rows += _proofs(200 if quick else 1000)
    rows += _whole_rollouts(10 if quick else 100)
    traffic = draw(same_version(600, PERCENTS), 8, np.random.default_rng(11))
    apart = disagreements(traffic, LIMITS, 8, 6 if quick else 20)
    targets.append(
        _at_most("judge: log evidence apart from the simulation's", round(float(apart), 6), 1e-4)
    )
    return rows, targets


def _at_most(name: str, value: float, limit: float) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "unit": "",
        "direction": "at most",
        "target": limit,
        "holds": bool(value <= limit),
    }


def bound(test: str) -> float:
    return SPLIT_BOUND if test == "split" else LIMITS.bound(test)


# --- versions that must not be rolled back -----------------------------------------------------


def _innocent(name: str, truth: Truth, rivals: bool) -> tuple[Rows, int]:
    """False alarms by rule, and the judge's."""
    counts: dict[str, int] = {}
    for traffic in _batches(truth, ROLLOUTS, 1):
        alarms = {
            test: (log >= bound(test)).any(axis=1)
            for test, log in evidence(traffic, LIMITS).items()
        }
        rollbacks = np.any([a for t, a in alarms.items() if t != "split"], axis=0)
        alarms = {
            "judge, all tests": rollbacks,
            **{f"judge, {t.replace('_', ' ')} alone": a for t, a in alarms.items()},
        }
        if rivals:
            alarms["1.5 × the error rate per 1,000"] = threshold_alarms(traffic).any(axis=1)
            alarms["Mann-Whitney per 1,000"] = mann_whitney_alarms(traffic).any(axis=1)
        for rule, alarm in alarms.items():
            counts[rule] = counts.get(rule, 0) + int(alarm.sum())
    rows = [
        {
            "must not be rolled back": name,
            "judged by": rule,
            "rollouts": ROLLOUTS,
            "requests each": len(truth.weights),
            "false alarms": number,
        }
        for rule, number in counts.items()
    ]
    return rows, counts["judge, all tests"]


def _batches(truth: Truth, rollouts: int, seed: int) -> Iterator[Traffic]:
    rng = np.random.default_rng(seed)
    for start in range(0, rollouts, BATCH):
        yield draw(truth, min(BATCH, rollouts - start), rng)


# --- bad versions ------------------------------------------------------------------------------

ERRORS = ("errors_absolute", "errors_relative")
SLOW = ("slow_absolute", "slow_relative")


def _bad_versions(rollouts: int) -> tuple[Rows, float]:
    two_points = "errors 2.5% beside 0.5%"
    cases: list[tuple[str, tuple[str, ...], Truth]] = [
        (two_points, ERRORS, constant(30_000, 0.05, error=0.025)),
        ("errors 3% beside 1%", ERRORS, constant(30_000, 0.05, error=0.03, base_error=0.01)),
        ("errors 10% beside 0.5%", ERRORS, constant(20_000, 0.05, error=0.1)),
        ("errors always", ERRORS, constant(2_000, 0.05, error=1.0)),
        ("slow 10%, limit 5%", SLOW, constant(20_000, 0.1, slow=0.1)),
        ("slow 20%, limit 5%", SLOW, constant(20_000, 0.1, slow=0.2)),
        ("slow always", SLOW, constant(5_000, 0.1, slow=1.0)),
        (
            "disagrees 6%, limit 2%",
            ("disagreement",),
            constant(20_000, 0.1, disagree=0.06, shadowed=0.1),
        ),
        ("predictions 0.2 apart, limit 0.1", ("predictions",), constant(20_000, 0.1, shift=0.2)),
        ("predictions 0.4 apart, limit 0.1", ("predictions",), constant(20_000, 0.1, shift=0.4)),
        ("accuracy −8 points, limit 2", ("labels",), constant(20_000, 0.5, loss=0.08)),
        ("accuracy −20 points, limit 2", ("labels",), constant(20_000, 0.5, loss=0.2)),
        ("router gives 10% instead of 5%", ("split",), constant(20_000, 0.05, share=0.1)),
    ]
    rows: Rows = []
    caught = 0.0
    for seed, (name, tests, truth) in enumerate(cases):
        found = _detections(tests, truth, rollouts, seed + 100)
        rows += [_detection_row(name, truth, rule, at) for rule, at in found.items()]
        if name == two_points:
            caught = rows[-len(found)]["caught_percent"]
    return rows, caught


def _detections(
    tests: tuple[str, ...], truth: Truth, rollouts: int, seed: int
) -> dict[str, tuple[Floats, Floats]]:
    """By rule: requests until it rolled back, all and the canary's, NaN where it did not."""
    parts: dict[str, list[tuple[Floats, Floats]]] = {}
    for traffic in _batches(truth, rollouts, seed):
        logs = evidence(traffic, LIMITS, tests)
        alarms = {"judge": np.any([log >= bound(t) for t, log in logs.items()], axis=0)}
        if tests == ERRORS:
            for rule, rival in (
                ("1.5 × per 1,000", threshold_alarms(traffic)),
                ("Mann-Whitney", mann_whitney_alarms(traffic)),
            ):
                alarms[rule] = np.zeros(traffic.canary.shape, bool)
                alarms[rule][:, EVERY - 1 :: EVERY] = rival
        for rule, alarm in alarms.items():
            parts.setdefault(rule, []).append(_first(alarm, so_far(traffic.canary)))
    return {
        rule: (np.concatenate([p[0] for p in found]), np.concatenate([p[1] for p in found]))
        for rule, found in parts.items()
    }


def _first(alarm: Flags, canary: Floats) -> tuple[Floats, Floats]:
    at = alarm.argmax(axis=1)
    missed = ~alarm.any(axis=1)
    mine = canary[np.arange(len(at)), at]
    return np.where(missed, np.nan, at + 1.0), np.where(missed, np.nan, mine)


def _detection_row(name: str, truth: Truth, rule: str, at: tuple[Floats, Floats]) -> dict[str, Any]:
    caught = 100 * float(np.mean(~np.isnan(at[0])))
    return {
        "bad version": name,
        "weight_percent": 100 * float(truth.weights[0]),
        "judged by": rule,
        "caught_percent": round(caught, 1),
        "of requests": len(truth.weights),
        "median requests": _median(at[0]),
        "of them the canary's": _median(at[1]),
    }


def _median(values: Floats) -> int | None:
    return None if np.isnan(values).all() else round(float(np.nanmedian(values)))


# --- promotion by proof ------------------------------------------------------------------------


def _proofs(rollouts: int) -> Rows:
    rows = []
    limit, wanted = LIMITS.inferior_error_rate, LIMITS.promotion_bound
    for rate in (0.0, 0.001, 0.005, 0.01, limit):
        rng = np.random.default_rng(7)
        errors = rng.random((rollouts, 5000)) < rate
        answers = np.broadcast_to(np.arange(1.0, 5001.0), errors.shape)
        proven = below(answers, so_far(errors), limit) >= wanted
        at, _ = _first(proven, answers)
        rows.append(
            {
                "canary's error rate": f"{rate:.1%}",
                "must be shown to be under": f"{limit:.0%}",
                "shown of 5,000 answers, percent": round(100 * float(proven.any(axis=1).mean()), 1),
                "median answers": _median(at),
            }
        )
    return rows


# --- whole rollouts ----------------------------------------------------------------------------


def _whole_rollouts(rollouts: int) -> Rows:
    rows = []
    for probe in (True, False):
        for error, base in ((0.0, 0.0), (0.001, 0.001), (0.005, 0.005), (0.03, 0.005), (0.5, 0.0)):
            rng = np.random.default_rng(5)
            endings = [roll_out(error, base, probe, rng) for _ in range(rollouts)]
            outcomes = [ending.outcome for ending in endings]
            rows.append(
                {
                    "whole rollout": f"errors {error:.1%} beside {base:.1%}",
                    "evidence": "200/s and probes" if probe else "200/s alone",
                    **{
                        f"{outcome.replace(' ', '_')}_percent": round(
                            100 * outcomes.count(outcome) / rollouts, 1
                        )
                        for outcome in ("promoted", "held", "rolled back")
                    },
                    "median_s": round(float(np.median([e.seconds for e in endings])), 2),
                    "median probes": round(float(np.median([e.probes for e in endings]))),
                }
            )
    return rows
