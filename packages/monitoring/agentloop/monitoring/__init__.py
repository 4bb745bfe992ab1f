"""Monitoring: replicas count, one actor merges, scores and alarms; one cycle looks ahead."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from agentloop.monitoring.counts import LATENCY_BOUNDS, FlushMessage
from agentloop.monitoring.detector import DetectorState, DriftDetector, alarm_threshold
from agentloop.monitoring.observer import Observer, ObserverFactory, make_observer
from agentloop.monitoring.score import column_score, shown_score

if TYPE_CHECKING:
    from agentloop.monitoring.plane import MonitoringPlane
    from agentloop.monitoring.proactive import ProactiveMonitoring
    from agentloop.monitoring.ray_monitor import (
        MonitoringHandle,
        drift_report,
        record_labels,
        start_monitoring,
        stop_monitoring,
    )

__all__ = [
    "LATENCY_BOUNDS",
    "DetectorState",
    "DriftDetector",
    "FlushMessage",
    "MonitoringHandle",
    "MonitoringPlane",
    "Observer",
    "ObserverFactory",
    "ProactiveMonitoring",
    "alarm_threshold",
    "column_score",
    "drift_report",
    "make_observer",
    "record_labels",
    "shown_score",
    "start_monitoring",
    "stop_monitoring",
]

_LAZY = {
    "MonitoringPlane": "plane",
    "ProactiveMonitoring": "proactive",
    "MonitoringHandle": "ray_monitor",
    "drift_report": "ray_monitor",
    "record_labels": "ray_monitor",
    "start_monitoring": "ray_monitor",
    "stop_monitoring": "ray_monitor",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
