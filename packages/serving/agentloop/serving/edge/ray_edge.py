"""The edge's supervised Ray actor: detached, named, restarted for ever."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from agentloop.contracts.traffic import VersionTraffic
from agentloop.serving.control.sqlite_control_store import SqliteControlStore
from agentloop.serving.edge.access_log import ACCESS_FILE, AccessLog
from agentloop.serving.edge.doorbell import Doorbell
from agentloop.serving.edge.haproxy_process import HaproxyProcess
from agentloop.serving.edge.keeper import EdgeKeeper, keep
from agentloop.serving.edge.sqlite_key_store import KEYS_FILE, SqliteKeyStore
from agentloop.serving.judging.receiver import EvidenceReceiver
from agentloop.serving.naming import EDGE_ACTOR, NAMESPACE


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """Where the edge finds its orders and keeps its sockets."""

    store_path: str
    folder: str


class EdgeActor:
    """A thread ticks the keeper; calls only ask it for an early pass or for its counts.

    On a restart the actor reads its plan from the control store and takes over the HAProxy that
    went on serving meanwhile.
    """

    def __init__(self, settings: EdgeSettings) -> None:
        come_first()
        folder, store_path = Path(settings.folder), Path(settings.store_path)
        self._process = HaproxyProcess(folder)
        store = SqliteControlStore(store_path)
        # A new weight must not wait for the disk.
        self._kept_open = store.keep_open()
        self._keeper = EdgeKeeper(
            store,
            self._process,
            folder,
            SqliteKeyStore(store_path.parent / KEYS_FILE),
            _delete_app,
            time.time,
        )
        self._access_log = AccessLog(folder, store_path.parent / "logs" / ACCESS_FILE)
        self._access_log.start()
        self._evidence = EvidenceReceiver(folder)
        self._evidence.start()
        self._stopping = threading.Event()
        threading.Thread(
            target=keep,
            args=(self._stopping, self._keeper, self._process, Doorbell(folder)),
            name="edge-keeper",
            daemon=True,
        ).start()

    def reconcile(self) -> None:
        self._keeper.reconcile()

    def traffic(self, model: str) -> list[VersionTraffic]:
        return self._evidence.beside(model, self._keeper.traffic(model))

    def pids(self) -> tuple[int, int | None]:
        """The actor's process and HAProxy's."""
        return os.getpid(), self._process.pid

    def stop(self) -> None:
        self._stopping.set()
        self._keeper.stop()
        self._evidence.stop()
        self._access_log.stop()
        self._kept_open.close()


def come_first() -> None:
    """Ray starts all its workers at nice 15 and in one session, among which and whose processes
    Linux divides the processors. Beside busy replicas a new weight would wait for its turns, and so
    would HAProxy, which is started from here. What this process may not change stays so."""
    with contextlib.suppress(OSError):
        # It leads a group of processes, and who does may begin no session.
        os.setpgid(0, os.getpgid(os.getppid()))
        os.setsid()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread may have ended meanwhile
            os.setpriority(os.PRIO_PROCESS, int(task.name), 0)


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
