"""The monitoring plane as a detached Ray actor, and how a driver starts, asks and stops it."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray

from agentloop.contracts.errors import MonitoringError, PortInUse
from agentloop.contracts.models import ModelVersion
from agentloop.contracts.monitoring import DriftReport
from agentloop.contracts.spec import MonitoringSpec
from agentloop.lifecycle.bundle import open_bundle
from agentloop.lifecycle.reference import ReferenceProfile
from agentloop.monitoring.checkpoint import write_atomically
from agentloop.monitoring.counts import FlushMessage
from agentloop.monitoring.observer import FlushAnswer
from agentloop.monitoring.plane import MonitoringPlane
from agentloop.monitoring.prometheus_metrics import MetricsServer

log = logging.getLogger(__name__)

ACTOR = "agentloop-monitor"
NAMESPACE = "agentloop"
START_SECONDS = 60.0
TICK_SECONDS = 0.2
PORT_FILE = ".port.json"
# What training calls the test set's accuracy, the most telling name first.
ACCURACY_METRICS = ("test_accuracy", "accuracy", "test_r2", "r2")


@dataclass(frozen=True, slots=True)
class MonitoringHandle:
    """Where the monitoring plane answers."""

    metrics_url: str


class MonitorActor:
    """A MonitoringPlane with a thread that ticks and a port that answers.

    When Ray restarts it, it reads the watched models and its port back from the state folder.
    """

    def __init__(self, home: str) -> None:
        self._folder = Path(home) / "monitoring"
        self._plane = MonitoringPlane(self._folder, lambda: datetime.now(UTC))
        self._server: MetricsServer | None = None
        if ray.get_runtime_context().was_current_actor_reconstructed:
            self._plane.resume()
            self._resume_server()
        threading.Thread(target=self._run, name="agentloop-monitor", daemon=True).start()

    def serve(self, port: int) -> tuple[str, str]:
        """(metrics_url, ""), or ("", reason) where ``port`` is taken. Once served, it stays."""
        try:
            self._server = self._server or MetricsServer(self._plane, port)
        except PortInUse as error:
            return "", error.reason
        write_atomically(self._folder / PORT_FILE, json.dumps({"port": self._server.port}))
        return self._server.url, ""

    def watch(
        self,
        model: str,
        version: str,
        profile: ReferenceProfile,
        spec: MonitoringSpec,
        accuracy: float | None,
    ) -> None:
        self._plane.watch(model, version, profile, spec, accuracy)

    def flush(self, message: FlushMessage) -> FlushAnswer:
        return self._plane.flush(message)

    def record_labels(self, model: str, version: str, correct: int, total: int) -> bool:
        return self._plane.record_labels(model, version, correct, total)

    def cycle(self, model: str) -> tuple[DriftReport, ...]:
        """Close the block now rather than when it is due."""
        return self._plane.cycle(model)

    def report(self, model: str, version: str | None) -> DriftReport | None:
        return self._plane.report(model, version)

    def _run(self) -> None:
        while True:
            time.sleep(TICK_SECONDS)
            try:
                self._plane.tick(time.monotonic())
            except Exception:  # a full disk or an odd block must not end monitoring for good
                log.exception("a monitoring cycle failed; the next one goes on")

    def _resume_server(self) -> None:
        with contextlib.suppress(OSError, ValueError, KeyError):
            port = json.loads((self._folder / PORT_FILE).read_text(encoding="utf-8"))["port"]
            try:
                self._server = MetricsServer(self._plane, port)
            except PortInUse:
                log.error("port %d was taken meanwhile: metrics move to a free one", port)
                self.serve(0)


def start_monitoring(
    spec: MonitoringSpec, model_version: ModelVersion, *, home: Path, port: int | None = None
) -> MonitoringHandle:
    """Watch a version, in the plane that runs or in a new one.

    ``port`` (default ``spec.port``) is where a new plane answers; one that runs keeps its own.
    Raises PortInUse, ArtifactUnverified, MonitoringError.
    """
    bundle = open_bundle(Path(model_version.artifact_uri), model_version.digest)
    wanted = spec.port if port is None else port
    running = _running()
    actor = running or _launch(home)
    url, taken = ray.get(actor.serve.remote(wanted), timeout=START_SECONDS)
    if not url:
        if running is None:
            ray.kill(actor)
        next_step = "set monitoring.port to another port, or to 0 for a free one"
        raise PortInUse(taken, next_step=next_step, port=wanted)
    accuracy = next(
        (model_version.metrics[m] for m in ACCURACY_METRICS if m in model_version.metrics), None
    )
    watched = actor.watch.remote(
        model_version.model, model_version.version, bundle.reference, spec, accuracy
    )
    _ask(watched)
    return MonitoringHandle(url)


def stop_monitoring() -> bool:
    """End the plane; its files stay. False where none was running."""
    actor = _running()
    if actor is None:
        return False
    ray.kill(actor)
    return True


def drift_report(model: str, version: str | None = None) -> DriftReport | None:
    """The last cycle's report of a version (default: watched last); None before there is one."""
    actor = _running()
    if actor is None:
        return None
    report: DriftReport | None = _ask(actor.report.remote(model, version))
    return report


def record_labels(model: str, version: str, correct: int, total: int) -> bool:
    """Tell the plane that ``correct`` of ``total`` live predictions proved right."""
    actor = _running()
    known = actor is not None and _ask(actor.record_labels.remote(model, version, correct, total))
    return bool(known)


def _running() -> Any:
    try:
        return ray.get_actor(ACTOR, namespace=NAMESPACE)
    except ValueError:
        return None


def _launch(home: Path) -> Any:
    remote = ray.remote(MonitorActor).options(
        name=ACTOR,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=3,
    )
    return remote.remote(str(home.resolve()))


def _ask(reference: Any) -> Any:
    """The actor's answer. Raises MonitoringError for whatever went wrong there."""
    try:
        return ray.get(reference, timeout=START_SECONDS)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, MonitoringError):
            raise cause from None
        raise MonitoringError(str(cause).splitlines()[0] if str(cause) else repr(cause)) from error
    except ray.exceptions.RayError as error:
        raise MonitoringError(f"the monitoring actor does not answer ({error})") from error
