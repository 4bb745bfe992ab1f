"""What is known of a Ray cluster, without Ray: its record, its environment, its command line."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from agentloop.contracts import ForeignCluster
from agentloop.loop.home import StateFolder, read_json, write_json

NAMESPACE = "agentloop"
DASHBOARD_PORT = 8265
STARTING = "127.0.0.1:0"
JOIN_SECONDS = 5.0

# Set on every node and in the driver. The throughput pair is what makes Serve fast; the last three
# keep every socket on loopback, one thread in each worker, and Ray Train from waiting 5 s at its
# end. Ray reads RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 as "this host alone": its node address becomes
# 127.0.0.1 and all of its daemons bind there.
CLUSTER_ENVIRONMENT: Mapping[str, str] = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "OMP_NUM_THREADS": "1",
}
LOCAL_ENVIRONMENT: Mapping[str, str] = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """A cluster and how to reach it. ``owned`` clusters were started here and may be stopped."""

    address: str
    dashboard_url: str
    pid: int = 0
    pid_started: float = 0.0
    owned: bool = True


def read_record(home: StateFolder) -> ClusterRecord | None:
    """The cluster this state folder started last, running or not."""
    value = read_json(home.cluster_record)
    try:
        return ClusterRecord(**value) if value else None
    except TypeError:
        return None


def write_record(home: StateFolder, record: ClusterRecord) -> None:
    write_json(home.cluster_record, asdict(record))


def is_running(record: ClusterRecord) -> bool:
    """Whether the very process that was started still runs: a reused pid is another process."""
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.pid_started) < 1
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def is_starting(record: ClusterRecord) -> bool:
    """Whether the process runs and has not said its address yet."""
    return record.address == STARTING and is_running(record)


def is_alive(record: ClusterRecord) -> bool:
    """Whether the process runs and answers on its port."""
    if record.address == STARTING or not is_running(record):
        return False
    try:
        host, port = record.address.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except (OSError, ValueError):
        return False


def require_answer(address: str) -> None:
    """Raises ForeignCluster unless something listens at ``address``, as RAY_ADDRESS names it: Ray
    itself tries for minutes. ``auto`` and the like are left to Ray."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=JOIN_SECONDS):
            return
    except (OSError, ValueError, OverflowError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise ForeignCluster(
            f"nothing answers at {address}, which RAY_ADDRESS names ({reason})",
            next_step="unset RAY_ADDRESS to use a local cluster, or point it at a live one",
            kept="Nothing was started or changed.",
        ) from None


def cluster_environment(home: StateFolder, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of a local head node: loopback, fast, and able to find this state folder."""
    dropped = ("RAY_ADDRESS", "PYTHONDONTWRITEBYTECODE")
    kept = {key: value for key, value in inherited.items() if key not in dropped}
    defaults = {"RAY_AUTH_MODE": "disabled"}  # loopback only; a user's own setting wins
    # A submitted job finds `agentloop` and this state folder through its node.
    path = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)])
    place = {"AGENTLOOP_HOME": str(home.root), "PATH": path}
    ours = {**CLUSTER_ENVIRONMENT, **LOCAL_ENVIRONMENT, **place}
    return {**defaults, **kept, **ours}


def head_command(home: StateFolder, cpus: int, free_port: FreePort) -> tuple[list[str], int]:
    """The command of a head node on loopback, and the port of its dashboard."""
    dashboard = DASHBOARD_PORT if free_port.is_free(DASHBOARD_PORT) else free_port.take()
    options = {
        "node-ip-address": "127.0.0.1",
        "port": "0",
        "dashboard-host": "127.0.0.1",
        "dashboard-port": str(dashboard),
        "dashboard-agent-listen-port": str(free_port.take()),
        "ray-client-server-port": str(free_port.take()),
        "min-worker-port": "0",
        "max-worker-port": "0",
        "num-cpus": str(cpus),
        "temp-dir": str(home.ray_folder),
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    return [*command, "--disable-usage-stats", *arguments], dashboard


class FreePort:
    """Asks the kernel for loopback ports; one object never gives the same port twice."""

    def __init__(self) -> None:
        self._given: set[int] = set()

    def take(self) -> int:
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port: int = probe.getsockname()[1]
            if port not in self._given:
                self._given.add(port)
                return port

    def is_free(self, port: int) -> bool:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
            return True


def tail(path: Path, lines: int = 5) -> str:
    """The last lines of a log, for a message."""
    try:
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
