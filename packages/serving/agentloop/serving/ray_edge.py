"""The edge's supervised Ray actor: detached, named, restarted for ever."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from agentloop.contracts.traffic import VersionTraffic
from agentloop.serving.edge_keeper import EdgeKeeper, guarded_tick
from agentloop.serving.haproxy_process import HaproxyProcess
from agentloop.serving.naming import EDGE_ACTOR, NAMESPACE
from agentloop.serving.sqlite_control_store import SqliteControlStore

TICK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """Where the edge finds its orders and keeps its sockets."""

    store_path: str
    folder: str
    max_body_bytes: int


class EdgeActor:
    """A thread ticks the keeper; calls only ask it for an early pass or for its counts.

    On a restart the actor reads its plan from the control store and takes over the HAProxy that
    went on serving meanwhile.
    """

    def __init__(self, settings: EdgeSettings) -> None:
        folder = Path(settings.folder)
        self._process = HaproxyProcess(folder)
        self._keeper = EdgeKeeper(
            SqliteControlStore(Path(settings.store_path)),
            self._process,
            folder,
            settings.max_body_bytes,
            _delete_app,
            time.time,
        )
        self._stopping = threading.Event()
        threading.Thread(target=self._run, name="edge-keeper", daemon=True).start()

    def reconcile(self) -> None:
        self._keeper.reconcile()

    def traffic(self, model: str) -> list[VersionTraffic]:
        return self._keeper.traffic(model)

    def pids(self) -> tuple[int, int | None]:
        """The actor's process and HAProxy's."""
        return os.getpid(), self._process.pid

    def stop(self) -> None:
        self._stopping.set()
        self._keeper.stop()

    def _run(self) -> None:
        while not self._stopping.wait(TICK_SECONDS):
            guarded_tick(self._keeper)


def _delete_app(name: str) -> None:
    from ray import serve

    if name in serve.status().applications:
        serve.delete(name, _blocking=False)


def edge_actor(settings: EdgeSettings) -> Any:
    """The cluster's edge actor, started if there is none."""
    options = {
        "name": EDGE_ACTOR,
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "max_restarts": -1,
        "max_task_retries": 3,
        "max_concurrency": 8,
        "num_cpus": 0,
    }
    return ray.remote(EdgeActor).options(**options).remote(settings)


def find_edge_actor() -> Any | None:
    """The edge actor of the cluster this process is connected to, if there is one."""
    try:
        return ray.get_actor(EDGE_ACTOR, namespace=NAMESPACE)
    except ValueError:
        return None
