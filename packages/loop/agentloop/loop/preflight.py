"""What can be known to fail before a cluster is started."""

from __future__ import annotations

import json
import socket

from agentloop.contracts import LoopSpec, PortInUse
from agentloop.loop.cluster import is_alive, read_record
from agentloop.loop.home import StateFolder

NOTHING_STARTED = "Nothing was started or changed."


def check_ports(spec: LoopSpec, home: StateFolder) -> None:
    """Raises PortInUse where another program holds the port of the edge or of the metrics.

    Ports that this state folder's own running cluster holds are fine.
    """
    ours = _own_ports(home)
    wanted = (
        ("serving.port", spec.serving.host, spec.serving.port),
        ("monitoring.port", "127.0.0.1", spec.monitoring.port),
    )
    for key, host, port in wanted:
        if port and port not in ours and not _is_free(host, port):
            raise PortInUse(
                f"{key} is another program's",
                next_step=f"free it, or set {key} to another port (0 picks a free one)",
                kept=NOTHING_STARTED,
                port=port,
            )


def _own_ports(home: StateFolder) -> set[int]:
    from agentloop.serving import read_endpoint

    record = read_record(home)
    if record is None or not is_alive(record):
        return set()
    edge = read_endpoint(home.root)
    ports = {edge.port} if edge else set()
    try:
        metrics = json.loads((home.root / "monitoring" / ".port.json").read_text("utf-8"))
        ports.add(int(metrics["port"]))
    except (OSError, ValueError, KeyError):
        pass
    return ports


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
