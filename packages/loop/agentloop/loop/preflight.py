"""What can be refused before a cluster is started: it costs milliseconds, a cluster seconds."""

from __future__ import annotations

import socket

import psutil

from agentloop.contracts import LoopSpec, PortInUse
from agentloop.loop.cluster import read_record
from agentloop.loop.home import StateFolder
from agentloop.serving import control_store

LOOPBACK = "127.0.0.1"


def check_ports(spec: LoopSpec, home: StateFolder) -> None:
    """Raises PortInUse where another program has the serving or the monitoring port.

    What an earlier run of this state folder has on them is ours to use: a folder that ever started
    a cluster is believed, and its ports are judged once the cluster is joined.
    """
    if read_record(home) is not None:
        return
    serving, monitoring = spec.serving, spec.monitoring
    edge = control_store(home.root).address() if (home.root / "control.db").exists() else None
    if edge is None or edge.port != serving.port:
        _require_free(serving.host, serving.port, "serving.port")
    _require_free(LOOPBACK, monitoring.port, "monitoring.port")
    if serving.port == monitoring.port != 0:
        reason = "serving.port and monitoring.port are the same"
        raise PortInUse(reason, next_step="give one of them another port", port=serving.port)


def _require_free(host: str, port: int, key: str) -> None:
    if port == 0:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            step = f"free it, or set {key} in loop.yaml to another (0 picks a free one)"
            reason = holder_of(port) or error.strerror or str(error)
            raise PortInUse(reason, next_step=step, port=port) from None


def holder_of(port: int) -> str | None:
    """Who listens on ``port``, as far as this user may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                name = psutil.Process(connection.pid).name() if connection.pid else ""
                return f"by {name}, process {connection.pid}" if name else "by another user"
    except (psutil.Error, OSError):
        pass
    return None
