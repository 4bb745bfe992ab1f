"""One watched model version: counts merged, drift judged a block at a time. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from agentloop.contracts.monitoring import ColumnDrift, DriftReport
from agentloop.contracts.spec import MonitoringSpec
from agentloop.lifecycle.reference import Counts, ReferenceProfile
from agentloop.monitoring.counts import CountLayout, FlushMessage, LatencyCounts
from agentloop.monitoring.detector import DetectorState, DriftDetector, alarm_threshold
from agentloop.monitoring.observer import FlushAnswer
from agentloop.monitoring.score import column_score, shown_score

# The score looks at the last one to two windows of this many times ``min_rows``.
WINDOW_ROWS = 2
MAX_REPLICAS = 1000


@dataclass(slots=True)
class WatchState:
    """All that changes about a watched version, and all that a restart must bring back.

    ``block`` holds the counts since the last cycle; ``window`` and ``earlier`` the score's rows;
    ``sequences`` the last message merged of each replica, the most recent last.
    """

    detector: DetectorState
    block: Counts
    window: Counts
    earlier: Counts
    answered: int = 0
    requests: dict[tuple[str, int], int] = field(default_factory=dict)
    latencies: dict[str, LatencyCounts] = field(default_factory=dict)
    sequences: dict[str, int] = field(default_factory=dict)
    accuracy: dict[str, float] = field(default_factory=dict)
    labelled: tuple[int, int] = (0, 0)
    report: DriftReport | None = None


class VersionWatch:
    """Merges flushes of one model version and turns each cycle's block into a DriftReport."""

    def __init__(
        self,
        model: str,
        version: str,
        profile: ReferenceProfile,
        spec: MonitoringSpec,
        state: WatchState | None = None,
    ) -> None:
        self.model = model
        self.version = version
        self.profile = profile
        self.spec = spec
        self.edge_hash = profile.edge_hash
        self.detector = DriftDetector(profile, alarm_threshold(spec.cycle_seconds))
        self.layout = CountLayout(profile)
        self.state = state or self.fresh_state()

    def fresh_state(self) -> WatchState:
        empty = self.layout.empty
        return WatchState(self.detector.start(), empty(), empty(), empty())

    def merge(self, message: FlushMessage) -> FlushAnswer:
        """Add a replica's counts, once. Nothing of a message with other bins is taken."""
        state = self.state
        if message.edge_hash != self.edge_hash:
            return "other-bins"
        if message.sequence <= state.sequences.get(message.replica, 0):
            return "duplicate"
        try:
            counts = self.layout.decode(message.counts)
        except ValueError:
            return "other-bins"
        state.sequences.pop(message.replica, None)
        state.sequences[message.replica] = message.sequence
        for stale in list(state.sequences)[:-MAX_REPLICAS]:
            del state.sequences[stale]
        state.block += counts
        state.answered += message.answered
        for endpoint, status, number in message.requests:
            key = (endpoint, status)
            state.requests[key] = state.requests.get(key, 0) + number
        for endpoint, latency in message.latencies:
            state.latencies[endpoint] = state.latencies.get(endpoint, LatencyCounts()) + latency
        return "merged"

    def cycle(self, at: str) -> DriftReport:
        """Close the block, move the evidence, and report; ``at`` is an ISO 8601 time."""
        state = self.state
        block, state.block = state.block, self.layout.empty()
        state.detector = self.detector.step(state.detector, self.layout.split(block))
        state.window += block
        if self._rows(state.window) >= WINDOW_ROWS * self.spec.min_rows:
            state.earlier, state.window = state.window, self.layout.empty()
        state.report = self._report(at)
        return state.report

    def record_labels(self, correct: int, total: int) -> None:
        """Add labels that arrived: ``correct`` of ``total`` predictions were right."""
        right, seen = self.state.labelled
        self.state.labelled = (right + correct, seen + total)
        if seen + total:
            self.state.accuracy["live"] = (right + correct) / (seen + total)

    def values(self) -> Mapping[tuple[str, str], float]:
        """What the answered predictions were worth, by (use case, value type)."""
        worth: dict[tuple[str, str], float] = {}
        for value in self.spec.business_value:
            key = (value.use_case, value.value_type)
            worth[key] = worth.get(key, 0.0) + value.per_prediction * self.state.answered
        return worth

    def _rows(self, flat: Counts) -> int:
        return int(self.layout.split(flat)[-1].sum())

    def _report(self, at: str) -> DriftReport:
        detector, alarm = self.state.detector, self.state.detector.alarm
        recent = self.state.window + self.state.earlier
        evidence = self.detector.evidence(detector)
        flagged = self.detector.alarmed_columns(detector)
        columns = tuple(
            ColumnDrift(
                column=column.name,
                score=shown_score(score, self.spec.max_drift_score, alarm),
                evidence=float(evidence[i]),
                alarm=bool(flagged[i]),
            )
            for i, (column, live) in enumerate(
                zip(self.layout.columns, self.layout.split(recent), strict=True)
            )
            if (score := column_score(column, live, self.spec.min_rows)) is not None
        )
        report = DriftReport(
            model=self.model,
            model_version=self.version,
            at=at,
            rows=self._rows(recent),
            score=max((column.score for column in columns), default=None),
            alarm=alarm,
            columns=columns,
        )
        return replace(report, reasons=self._reasons(report, np.asarray(flagged)))

    def _reasons(self, report: DriftReport, flagged: np.ndarray) -> tuple[str, ...]:
        detector = self.state.detector
        if report.alarm:
            names = ", ".join(np.asarray(self.detector.names)[flagged][:5])
            more = int(flagged.sum()) - 5
            tail = f" and {more} more" if more > 0 else ""
            sentence = (
                f"{names}{tail} left the training distribution: the evidence passed "
                f"{self.detector.threshold:,.0f} (a false alarm in 30 days) "
                f"{detector.delay} rows after it began to grow"
            )
            return (sentence,)
        if report.score is None:
            return (f"{report.rows} of the {self.spec.min_rows} rows that a score needs",)
        return ("no drift: the evidence is below the alarm",)


def split_scores(report: DriftReport) -> Mapping[str, float]:
    """Scores by ``drift_type``: ``data`` (largest feature), ``prediction``, ``feature:<name>``."""
    if not report.columns:
        return {}
    *features, prediction = report.columns  # a report has all columns or, on few rows, none
    scores = {f"feature:{c.column}": c.score for c in features}
    if features:
        scores["data"] = max(scores.values())
    return {**scores, "prediction": prediction.score}
