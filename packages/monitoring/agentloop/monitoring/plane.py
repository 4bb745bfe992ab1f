"""The monitoring plane: every watched model of a cluster, its files and its cycle.

No Ray here: the actor in ``ray_monitor`` is this class with a name, so all of it is tested in a
plain process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from agentloop.contracts.monitoring import DriftReport
from agentloop.contracts.runs import LoopEvent
from agentloop.contracts.spec import MonitoringSpec
from agentloop.lifecycle.reference import ReferenceProfile
from agentloop.monitoring.checkpoint import append_line, read_watches, write_watches
from agentloop.monitoring.counts import FlushMessage
from agentloop.monitoring.observer import FlushAnswer
from agentloop.monitoring.watch import VersionWatch

# Versions of one model that stay on /metrics; the oldest watched goes first.
MAX_VERSIONS = 8


@dataclass(slots=True)
class _Model:
    watches: dict[str, VersionWatch] = field(default_factory=dict)
    due: float = 0.0

    @property
    def cycle_seconds(self) -> float:
        return min(watch.spec.cycle_seconds for watch in self.watches.values())


class MonitoringPlane:
    """Thread-safe. ``folder`` is ``<home>/monitoring``; ``now`` gives the wall-clock time."""

    def __init__(self, folder: Path, now: Callable[[], datetime]) -> None:
        self._folder = folder
        self._now = now
        self._models: dict[str, _Model] = {}
        self._lock = threading.RLock()

    def watch(
        self,
        model: str,
        version: str,
        profile: ReferenceProfile,
        spec: MonitoringSpec,
        accuracy: float | None = None,
    ) -> None:
        """Watch a version beside those watched already; goes on from the model's file.

        A version that is watched keeps its counts and takes the new ``spec``. ``accuracy`` is the
        one of the test set. Raises MonitoringError where the file cannot be read.
        """
        with self._lock:
            entry = self._models.get(model) or self._restore(model)
            known = entry.watches.pop(version, None)
            same = known is not None and known.edge_hash == profile.edge_hash
            state = known.state if known and same else None
            watch = VersionWatch(model, version, profile, spec, state)
            if accuracy is not None:
                watch.state.accuracy["test"] = accuracy
            entry.watches[version] = watch
            for oldest in list(entry.watches)[:-MAX_VERSIONS]:
                del entry.watches[oldest]
            entry.due = 0.0
            self._save(model)

    def resume(self) -> None:
        """Watch again whatever has a file in the folder: what a restarted process does first."""
        with self._lock:
            for path in sorted(self._folder.glob("[!.]*.json")):
                self._restore(path.stem)

    def flush(self, message: FlushMessage) -> FlushAnswer:
        """Merge a replica's counts; they are in the model's file before this returns."""
        with self._lock:
            entry = self._models.get(message.model)
            watch = entry.watches.get(message.version) if entry else None
            if watch is None:
                return "unwatched"
            answer = watch.merge(message)
            if answer == "merged":
                self._save(message.model)
            return answer

    def record_labels(self, model: str, version: str, correct: int, total: int) -> bool:
        """Add labels that arrived for a version; False where it is not watched."""
        with self._lock:
            entry = self._models.get(model)
            watch = entry.watches.get(version) if entry else None
            if watch is None:
                return False
            watch.record_labels(correct, total)
            self._save(model)
            return True

    def tick(self, monotonic: float) -> None:
        """Run the cycle of every model whose time has come; ``monotonic`` in seconds."""
        with self._lock:
            for model, entry in self._models.items():
                if entry.watches and monotonic >= entry.due:
                    entry.due = monotonic + entry.cycle_seconds
                    self.cycle(model)

    def cycle(self, model: str) -> tuple[DriftReport, ...]:
        """Score and test every version of ``model`` that had traffic since the last cycle."""
        with self._lock:
            entry = self._models.get(model)
            reports = []
            for watch in entry.watches.values() if entry else ():
                if not watch.state.block.any():
                    continue
                was = watch.state.detector.alarm
                report = watch.cycle(self._now().isoformat())
                append_line(self._folder / model / "drift.jsonl", report)
                if report.alarm != was:
                    self._announce(report)
                reports.append(report)
            if reports:
                self._save(model)
            return tuple(reports)

    def report(self, model: str, version: str | None = None) -> DriftReport | None:
        """The last report of a version, by default of the one watched last."""
        with self._lock:
            entry = self._models.get(model)
            watches = list(entry.watches.values()) if entry else []
            chosen = [w for w in watches if version in (None, w.version)]
            return chosen[-1].state.report if chosen else None

    def watches(self) -> tuple[VersionWatch, ...]:
        """Every watched version, for reading under ``lock``."""
        return tuple(w for entry in self._models.values() for w in entry.watches.values())

    @property
    def lock(self) -> threading.RLock:
        return self._lock

    def _announce(self, report: DriftReport) -> None:
        kind = "drift.alarm" if report.alarm else "drift.cleared"
        detail = {
            "score": report.score,
            "reasons": list(report.reasons),
            "columns": [c.column for c in report.columns if c.alarm],
        }
        event = LoopEvent(report.at, kind, report.model, report.model_version, detail)
        append_line(self._folder / report.model / "events.jsonl", event)

    def _restore(self, model: str) -> _Model:
        watches = read_watches(self._path(model))
        entry = _Model({watch.version: watch for watch in watches})
        self._models[model] = entry
        return entry

    def _save(self, model: str) -> None:
        write_watches(self._path(model), self._models[model].watches.values())

    def _path(self, model: str) -> Path:
        return self._folder / f"{model}.json"
