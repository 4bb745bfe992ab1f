"""The monitoring front door: one cycle from what is measured to what is done about it."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from agentloop.contracts.codec import canonical_json, to_dict
from agentloop.contracts.monitoring import DriftReport, Forecast, MonitoringReport
from agentloop.monitoring.anomalies import find_anomalies
from agentloop.monitoring.checkpoint import write_atomically
from agentloop.monitoring.forecast import forecasts
from agentloop.monitoring.psutil_system import read_system

ACT_ABOVE = 0.8
HORIZON_SECONDS = 24 * 3600.0
MAX_HISTORY = 500
HISTORY_FILE = ".system-history.json"
REPORT_FILE = ".last-report.json"

Reader = Callable[[], Mapping[str, float]]
Action = Callable[[Forecast], str | Awaitable[str]]
Notifier = Callable[[MonitoringReport], Awaitable[None] | None]
Samples = dict[str, list[tuple[float, float]]]


class ProactiveMonitoring:
    """Measures, looks for anomalies, predicts, prevents and reports, once a cycle.

    ``home``: the state folder; the metrics' history and the last report lie under ``monitoring``.
    ``system``: shares of CPU, memory and disk (default: this machine's). ``traffic``: what the edge
    counted, e.g. ``error_rate``. ``drift``: the models' last reports. ``actions``: by issue, or by
    the part of it before ``:``; each answers with a sentence on what it did. ``notify`` gets the
    report. Nothing runs before ``run_monitoring_cycle``.
    """

    def __init__(
        self,
        home: Path,
        *,
        now: Callable[[], datetime],
        system: Reader | None = None,
        traffic: Reader | None = None,
        drift: Callable[[], Sequence[DriftReport]] | None = None,
        actions: Mapping[str, Action] | None = None,
        notify: Notifier | None = None,
        horizon_seconds: float = HORIZON_SECONDS,
    ) -> None:
        self._folder = home / "monitoring"
        self._now = now
        self._system = system or partial(read_system, home)
        self._traffic = traffic
        self._read_drift = drift
        self._actions = actions or {}
        self._notify = notify
        self._horizon_seconds = horizon_seconds
        self._drift: tuple[DriftReport, ...] = ()

    async def run_monitoring_cycle(self) -> MonitoringReport:
        """One cycle: the report that was written, and handed to ``notify``."""
        metrics = await self.collect_system_metrics()
        anomalies = await self.detect_anomalies(metrics)
        issues = await self.predict_future_issues(metrics)
        done = [await self.take_preventive_action(i) for i in issues if i.confidence > ACT_ABOVE]
        actions = tuple(sentence for sentence in done if sentence)
        report = await self.generate_monitoring_report(metrics, anomalies, issues, actions)
        await self.send_report(report)
        return report

    async def collect_system_metrics(self) -> Mapping[str, float]:
        """The machine's metrics and the edge's, by name. Also asks for the drift reports."""
        metrics = dict(await asyncio.to_thread(self._system))
        if self._traffic is not None:
            metrics.update(await asyncio.to_thread(self._traffic))
        if self._read_drift is not None:
            self._drift = tuple(await asyncio.to_thread(self._read_drift))
        return metrics

    async def detect_anomalies(self, metrics: Mapping[str, float]) -> tuple[str, ...]:
        """One sentence each; see ``find_anomalies``."""
        past = {name: [v for _, v in samples] for name, samples in self._history().items()}
        return find_anomalies(metrics, past, self._drift)

    async def predict_future_issues(self, metrics: Mapping[str, float]) -> tuple[Forecast, ...]:
        """What will go wrong within the horizon, each with a confidence, the surest first."""
        return forecasts(self._with(metrics), self._drift, self._horizon_seconds)

    async def take_preventive_action(self, issue: Forecast) -> str | None:
        """Run the action for ``issue``: a sentence on what it did, None where there is none.

        An action that fails is part of the report, not the end of the cycle.
        """
        kind = issue.issue.partition(":")[0]
        action = self._actions.get(issue.issue) or self._actions.get(kind)
        if action is None:
            return None
        try:
            done = action(issue)
            return f"{issue.issue}: {await done if inspect.isawaitable(done) else done}"
        except Exception as error:
            return f"{issue.issue}: the action failed ({error!r})"

    async def generate_monitoring_report(
        self,
        metrics: Mapping[str, float],
        anomalies: tuple[str, ...],
        issues: tuple[Forecast, ...],
        actions: tuple[str, ...],
    ) -> MonitoringReport:
        at = self._now().isoformat()
        return MonitoringReport(at, metrics, anomalies, issues, actions, self._drift)

    async def send_report(self, report: MonitoringReport) -> None:
        """Write the report and the history it adds to, then notify."""
        history = {n: s[-MAX_HISTORY:] for n, s in self._with(report.metrics).items()}
        write_atomically(self._folder / HISTORY_FILE, canonical_json(history))
        write_atomically(self._folder / REPORT_FILE, canonical_json(to_dict(report)))
        if self._notify is not None:
            sent = self._notify(report)
            if inspect.isawaitable(sent):
                await sent

    def _history(self) -> Samples:
        try:
            history: Samples = json.loads((self._folder / HISTORY_FILE).read_text("utf-8"))
            return history
        except (OSError, ValueError):
            return {}  # a first cycle, or a file cut short: the past is a help, not a condition

    def _with(self, metrics: Mapping[str, float]) -> Samples:
        history, now = self._history(), self._now().timestamp()
        return {
            **history,
            **{name: [*history.get(name, []), (now, value)] for name, value in metrics.items()},
        }
