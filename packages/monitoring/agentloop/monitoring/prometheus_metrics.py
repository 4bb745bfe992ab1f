"""The plane as Prometheus metrics, served over HTTP. Names and labels are the user's, exactly."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    UnknownMetricFamily,
)
from prometheus_client.registry import Collector

from agentloop.contracts.errors import PortInUse
from agentloop.monitoring.counts import LATENCY_BOUNDS, LatencyCounts
from agentloop.monitoring.plane import MonitoringPlane
from agentloop.monitoring.watch import VersionWatch, split_scores

LOOPBACK = "127.0.0.1"


class PlaneCollector(Collector):
    """Reads the plane at each scrape: a restarted plane shows its restored counters at once."""

    def __init__(self, plane: MonitoringPlane) -> None:
        self._plane = plane

    def collect(self) -> Iterator[Any]:
        families = _families()
        with self._plane.lock:
            for watch in self._plane.watches():
                _fill(families, watch)
        yield from families.values()


class MetricsServer:
    """``/metrics`` on loopback, in a thread of its own, until ``close``."""

    def __init__(self, plane: MonitoringPlane, port: int) -> None:
        """``port`` 0 takes a free one. Raises PortInUse."""
        registry = CollectorRegistry()
        registry.register(PlaneCollector(plane))
        try:
            served = start_http_server(port, addr=LOOPBACK, registry=registry)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise PortInUse(
                "another program listens there",
                next_step="set monitoring.port to another port, or to 0 for a free one",
                port=port,
            ) from None
        self._server: WSGIServer = served[0]
        self._thread: Thread = served[1]
        self.port: int = self._server.server_port

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/metrics"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _families() -> dict[str, Any]:
    return {
        "requests": CounterMetricFamily(
            "model_inference_requests_total",
            "Inference requests answered.",
            labels=("model_version", "endpoint", "status"),
        ),
        "duration": HistogramMetricFamily(
            "model_inference_duration_seconds",
            "Time to answer an inference request.",
            labels=("model_version", "endpoint"),
        ),
        "drift": GaugeMetricFamily(
            "model_drift_score",
            "Debiased Jensen-Shannon distance from the training data, 0 to 1.",
            labels=("model_version", "drift_type"),
        ),
        "accuracy": GaugeMetricFamily(
            "model_accuracy",
            "Share of right answers (R2 for regression).",
            labels=("model_version", "dataset"),
        ),
        # A counter family would add _total to the name that the user gave.
        "value": UnknownMetricFamily(
            "business_value_generated",
            "Worth of the answered predictions so far; grows like a counter.",
            labels=("model_version", "use_case", "value_type"),
        ),
    }


def _fill(families: dict[str, Any], watch: VersionWatch) -> None:
    state, version = watch.state, watch.version
    for (endpoint, status), number in state.requests.items():
        families["requests"].add_metric((version, endpoint, str(status)), number)
    for endpoint, latency in state.latencies.items():
        families["duration"].add_metric(
            (version, endpoint), _cumulative(latency), sum_value=latency.seconds
        )
    for drift_type, score in split_scores(state.report).items() if state.report else ():
        families["drift"].add_metric((version, drift_type), score)
    for dataset, accuracy in state.accuracy.items():
        families["accuracy"].add_metric((version, dataset), accuracy)
    for (use_case, value_type), worth in watch.values().items():
        families["value"].add_metric((version, use_case, value_type), worth)


def _cumulative(latency: LatencyCounts) -> list[tuple[str, float]]:
    names = [*(str(bound) for bound in LATENCY_BOUNDS), "+Inf"]
    total = 0
    buckets: list[tuple[str, float]] = []
    for name, number in zip(names, latency.buckets, strict=True):
        total += number
        buckets.append((name, float(total)))
    return buckets
