"""The monitoring actor on a real cluster: started, restarted and stopped."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from agentloop.contracts import ModelVersion, MonitoringSpec, PortInUse, Stage
from agentloop.lifecycle import ModelBundle
from agentloop.monitoring import (
    MonitoringHandle,
    ObserverFactory,
    drift_report,
    record_labels,
    start_monitoring,
    stop_monitoring,
)
from agentloop.monitoring.ray_monitor import ACTOR, NAMESPACE

# A cycle comes when the test asks for one.
SPEC = MonitoringSpec(flush_seconds=60.0, cycle_seconds=10_000.0, port=0)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="mon"))  # short: Ray puts sockets under it
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=str(folder / "r"))
    yield folder
    stop_monitoring()
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def version(bundle: ModelBundle) -> ModelVersion:
    uri, metrics = str(bundle.path), {"test_accuracy": 0.97}
    return ModelVersion(
        "flowers", "1.0.0", Stage.STAGING, bundle.digest, uri, "run", "data", metrics
    )


@pytest.fixture
def handle(home: Path, version: ModelVersion) -> MonitoringHandle:
    return start_monitoring(SPEC, version, home=home)


def actor() -> Any:
    return ray.get_actor(ACTOR, namespace=NAMESPACE)


def process_id() -> int:
    pid: int = ray.get(actor().__ray_call__.remote(lambda _: os.getpid()), timeout=30)
    return pid


def restart(deadline_s: float = 30.0) -> None:
    """Kill the actor's process, and return once another one answers in its place."""
    before, end = process_id(), time.monotonic() + deadline_s
    ray.kill(actor(), no_restart=False)
    while time.monotonic() < end:
        with contextlib.suppress(ray.exceptions.RayActorError):
            if process_id() != before:
                return
    raise AssertionError("the actor was not restarted")


def scrape(handle: MonitoringHandle, deadline_s: float = 30.0) -> str:
    end = time.monotonic() + deadline_s
    while True:
        try:
            text: str = urllib.request.urlopen(handle.metrics_url, timeout=5).read().decode()
            return text
        except OSError:
            if time.monotonic() > end:
                raise


def test_starting_twice_is_one_plane(
    handle: MonitoringHandle, home: Path, version: ModelVersion
) -> None:
    assert start_monitoring(SPEC, version, home=home) == handle
    assert 'model_accuracy{dataset="test",model_version="1.0.0"} 0.97' in scrape(handle)


def test_replica_counts_arrive_once_and_survive_a_restart(
    handle: MonitoringHandle, bundle: ModelBundle, rows: Callable[..., Any]
) -> None:
    observer = ObserverFactory(flush_seconds=60.0)(bundle, "1.0.0", "replica-1")
    for seed in range(5):
        observer.observe(*rows(10, seed), 0.004, 200, "infer")
    assert observer.flush()
    line = 'requests_total{endpoint="infer",model_version="1.0.0",status="200"} 5.0'
    assert line in scrape(handle)
    restart()
    assert line in scrape(handle)
    observer.observe(*rows(1, 9), 0.004, 200, "infer")
    observer.close()
    assert line.replace("5.0", "6.0") in scrape(handle)


def test_shifted_traffic_raises_the_alarm(
    handle: MonitoringHandle, bundle: ModelBundle, rows: Callable[..., Any]
) -> None:
    observer = ObserverFactory(flush_seconds=60.0)(bundle, "1.0.0", "replica-2")
    for seed in range(12):
        observer.observe(*rows(300, seed, 1.0), 0.004, 200, "infer")
        observer.flush()
        ray.get(actor().cycle.remote("flowers"))
    observer.close()
    report = drift_report("flowers")
    assert report is not None
    assert report.alarm
    assert 'model_drift_score{drift_type="feature:x0",model_version="1.0.0"}' in scrape(handle)


def test_labels_become_live_accuracy(handle: MonitoringHandle) -> None:
    assert record_labels("flowers", "1.0.0", correct=3, total=4)
    assert 'model_accuracy{dataset="live",model_version="1.0.0"} 0.75' in scrape(handle)
    assert not record_labels("flowers", "9.9.9", correct=1, total=1)


def test_taken_port_leaves_no_plane(home: Path, version: ModelVersion) -> None:
    stop_monitoring()
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(PortInUse, match=str(taken)):
            start_monitoring(SPEC, version, home=home, port=taken)
    assert not stop_monitoring()
    assert drift_report("flowers") is None
