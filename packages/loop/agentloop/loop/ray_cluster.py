"""Start, join and stop the local Ray cluster; never touch another one."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import psutil

from agentloop.contracts import ClusterError, ForeignCluster, StaleCluster
from agentloop.data.files import locked
from agentloop.loop.cluster import (
    CLUSTER_ENVIRONMENT,
    LOCAL_ENVIRONMENT,
    NAMESPACE,
    STARTING,
    ClusterRecord,
    FreePort,
    cluster_environment,
    head_command,
    is_alive,
    is_starting,
    read_record,
    require_answer,
    tail,
    write_record,
)
from agentloop.loop.home import StateFolder
from agentloop.serving import run_dir, serve_environment, stop_edge

START_SECONDS = 90.0
# Ray drains a node for up to 30 s; whoever says `down` waits for no more than this.
STOP_SECONDS = 4.0
POLL_SECONDS = 0.05


@dataclass
class RayCluster:
    """Brings a cluster up in the background, so that other work goes on until Ray is needed.

    ``environment`` is the process's own; an address in it (RAY_ADDRESS, as in a submitted job)
    is joined, never started or stopped.
    """

    home: StateFolder
    environment: Mapping[str, str]
    seconds: float = 0.0
    started_here: bool = False
    _thread: threading.Thread | None = None
    _error: BaseException | None = None
    _record: ClusterRecord | None = field(default=None)

    def begin(self) -> None:
        """Start in the background. ``ready`` waits for the end of it."""
        if self._thread is None:
            prepare_driver(self.environment)
            self._thread = threading.Thread(target=self._bring_up, name="cluster", daemon=True)
            self._thread.start()

    def ready(self) -> ClusterRecord:
        """Wait until this process is connected. Raises ClusterError."""
        self.begin()
        assert self._thread is not None
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._record is not None
        return self._record

    def _bring_up(self) -> None:
        began = time.monotonic()
        try:
            record = self._find_or_start()
            _connect(record)
            self._record = record
            self.seconds = time.monotonic() - began
        except BaseException as error:
            self._error = error

    def _find_or_start(self) -> ClusterRecord:
        address = self.environment.get("RAY_ADDRESS", "")
        known = read_record(self.home)
        if address:
            require_answer(address)
            ours = known is not None and known.address == address
            url = known.dashboard_url if known is not None and ours else ""
            return ClusterRecord(address, url, owned=False)
        if known is not None and is_alive(known):
            return known
        with locked(self.home.root / "cluster.lock"):  # two ingests at once start one cluster
            return self._start_unless_started()

    def _start_unless_started(self) -> ClusterRecord:
        known = read_record(self.home)
        if known is not None and is_alive(known):
            return known
        self.started_here = True
        if known is not None and is_starting(known):
            return _await_head(self.home, known)
        clear_remains(self.home)
        return start_cluster(self.home, self.environment)


def start_cluster(home: StateFolder, environment: Mapping[str, str]) -> ClusterRecord:
    """Start a head node on loopback that outlives this process. Raises ClusterError."""
    pointer = home.ray_folder / "ray_current_cluster"
    home.ray_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    pointer.unlink(missing_ok=True)
    home.cluster_log.parent.mkdir(parents=True, exist_ok=True)
    cpus = max(2, os.cpu_count() or 2)
    command, dashboard = head_command(home, cpus, FreePort())
    with home.cluster_log.open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**cluster_environment(home, environment), **serve_environment(home.root)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{dashboard}"
    began = psutil.Process(process.pid).create_time()
    # Recorded before it is up: a kill of this process then leaves nothing that `down` cannot stop.
    record = ClusterRecord(STARTING, url, process.pid, began)
    write_record(home, record)
    return _await_head(home, record)


def _await_head(home: StateFolder, starting: ClusterRecord) -> ClusterRecord:
    """Wait until the head node has written its address, and record it."""
    pointer = home.ray_folder / "ray_current_cluster"
    deadline = time.monotonic() + START_SECONDS
    while not (pointer.exists() and pointer.read_text()):
        if not is_starting(starting) or time.monotonic() > deadline:
            raise ClusterError(
                f"its head node did not start ({tail(home.cluster_log) or 'no log'})",
                next_step=f"read {home.cluster_log}, then: agentloop up",
            )
        time.sleep(POLL_SECONDS)
    record = replace(starting, address=pointer.read_text().strip())
    write_record(home, record)
    return record


def prepare_driver(environment: Mapping[str, str]) -> None:
    """Set this process's environment as the nodes' is. Call it before anything imports ray,
    which reads some of it at import time."""
    os.environ.update(CLUSTER_ENVIRONMENT)
    if not environment.get("RAY_ADDRESS"):
        os.environ.update(LOCAL_ENVIRONMENT)
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")


def _connect(record: ClusterRecord) -> None:
    import ray

    if ray.is_initialized():
        return
    try:
        ray.init(
            address=record.address,
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = str(error).splitlines()[0]
        if record.owned:
            raise StaleCluster(f"{record.address} does not let us in ({reason})") from error
        raise ForeignCluster(
            f"{record.address}, named by RAY_ADDRESS, cannot be joined ({reason})",
            next_step="unset RAY_ADDRESS to use a local cluster, or point it at a live one",
        ) from error


def clear_remains(home: StateFolder) -> None:
    """End what is left of this folder's cluster after a crash or a reboot: daemons without a head,
    an edge that still holds its port. A cluster that runs, or is starting, is left alone."""
    record = read_record(home)
    if record is not None and not is_alive(record) and not is_starting(record):
        stop_cluster(home)


def stop_cluster(home: StateFolder) -> bool:
    """Stop the cluster that this state folder started, and nothing else; False if none ran."""
    record = read_record(home)
    home.cluster_record.unlink(missing_ok=True)
    if record is None or not record.owned:
        return False
    stragglers = _processes_of(home)
    stragglers += [child for found in stragglers for child in _children(found)]
    try:
        head = psutil.Process(record.pid)
        if abs(head.create_time() - record.pid_started) < 1:
            stragglers += [head, *_children(head)]
            head.terminate()
            head.wait(STOP_SECONDS)
    except (psutil.NoSuchProcess, psutil.TimeoutExpired):
        pass
    for process in stragglers:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(stragglers, timeout=5)
    stop_edge(home.root)  # last: while its actor lived, it would have been started again
    return bool(stragglers)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = process.children(recursive=True)
        return found
    except psutil.Error:
        return []


def _processes_of(home: StateFolder) -> list[psutil.Process]:
    """Processes that name our Ray folder, or our serving plane's, on their command line."""
    markers = (f"{home.ray_folder}{os.sep}", f"{run_dir(home.root)}{os.sep}")
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if process.pid != os.getpid() and any(m in word for word in words for m in markers):
            found.append(process)
    return found
