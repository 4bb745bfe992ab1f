"""What a version's replicas count, added up, taken apart and written as a message. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from agentloop.contracts.traffic import ShadowCounts, VersionEvidence

BUCKETS_AN_OCTAVE = 8
MAX_NAMES = 256
MAX_NAME = 80

K = TypeVar("K", int, str)


@dataclass(frozen=True, slots=True)
class EvidenceMessage:
    """All that ``process`` has counted so far; ``sequence`` is 1 in its first message."""

    model: str
    version: str
    process: str
    sequence: int
    counts: VersionEvidence


def latency_bucket(ms: float) -> int:
    """k for an answer that took (2^((k−1)/8), 2^(k/8)] ms: at most 9% wide."""
    return math.ceil(BUCKETS_AN_OCTAVE * math.log2(ms)) if ms > 0 else -64


def slower_than(latency: Mapping[int, int], budget_ms: float) -> int:
    """Answers that took longer than the budget, which is rounded up to the end of its bucket."""
    within = latency_bucket(budget_ms)
    return sum(number for bucket, number in latency.items() if bucket > within)


def total(parts: Iterable[VersionEvidence]) -> VersionEvidence:
    """The sum of several processes' or versions' counts."""
    result = VersionEvidence()
    for part in parts:
        result = _combine(result, part, 1)
    return result


def since(now: VersionEvidence, base: VersionEvidence) -> VersionEvidence | None:
    """What was counted after ``base``; None where counting began anew in between."""
    if now.answers < base.answers or now.failures < base.failures:
        return None
    return _combine(now, base, -1)


def encode(message: EvidenceMessage) -> bytes:
    counts = message.counts
    fields = {
        "model": message.model,
        "version": message.version,
        "process": message.process,
        "sequence": message.sequence,
        "answers": counts.answers,
        "failures": counts.failures,
        "latency": {str(bucket): number for bucket, number in counts.latency.items()},
        "predictions": dict(counts.predictions),
        "shadows": {
            version: [s.compared, s.disagreed, s.failed, s.dropped]
            for version, s in counts.shadows.items()
        },
        "labelled": counts.labelled,
        "right": counts.right,
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def decode(data: bytes) -> EvidenceMessage:
    """Raises ValueError unless it is exactly such a message."""
    try:
        fields = json.loads(data)
        counts = VersionEvidence(
            _count(fields["answers"]),
            _count(fields["failures"]),
            {int(k): _count(n) for k, n in _few(fields["latency"])},
            {_name(k): _amount(n) for k, n in _few(fields["predictions"])},
            {
                _name(k): ShadowCounts(_count(c), _amount(d), _count(f), _count(x))
                for k, (c, d, f, x) in _few(fields["shadows"])
            },
            _amount(fields["labelled"]),
            _amount(fields["right"]),
        )
        return EvidenceMessage(
            _name(fields["model"]),
            _name(fields["version"]),
            _name(fields["process"]),
            _count(fields["sequence"]),
            counts,
        )
    except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"not a message of counts: {error!r}") from None


def _combine(a: VersionEvidence, b: VersionEvidence, sign: int) -> VersionEvidence:
    return VersionEvidence(
        a.answers + sign * b.answers,
        a.failures + sign * b.failures,
        _merged(a.latency, b.latency, sign),
        _merged(a.predictions, b.predictions, sign),
        {
            version: _combined_shadow(
                a.shadows.get(version, ShadowCounts()), b.shadows.get(version, ShadowCounts()), sign
            )
            for version in a.shadows.keys() | b.shadows.keys()
        },
        a.labelled + sign * b.labelled,
        a.right + sign * b.right,
    )


def _combined_shadow(a: ShadowCounts, b: ShadowCounts, sign: int) -> ShadowCounts:
    # A replica forgets a version that it was asked to shadow long ago, so counts may fall to 0.
    return ShadowCounts(
        max(0, a.compared + sign * b.compared),
        max(0.0, a.disagreed + sign * b.disagreed),
        max(0, a.failed + sign * b.failed),
        max(0, a.dropped + sign * b.dropped),
    )


def _merged(a: Mapping[K, Any], b: Mapping[K, Any], sign: int) -> dict[K, Any]:
    result = dict(a)
    for key, number in b.items():
        result[key] = result.get(key, 0) + sign * number
    return {key: number for key, number in result.items() if number}


def _few(items: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    if len(items) > 2 * MAX_NAMES:
        raise ValueError(f"{len(items)} counters in one message")
    return items.items()


def _name(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 2 * MAX_NAME:
        raise ValueError("a name must be a short text")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a count must be a whole number from 0")
    return value


def _amount(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise ValueError("an amount must be a number from 0")
    return float(value)
