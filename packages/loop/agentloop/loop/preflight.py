"""What can be refused before a cluster is started: that takes milliseconds, a cluster seconds."""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
from pathlib import Path

import psutil

from agentloop.contracts import LoopSpec, PortInUse, TrainingError
from agentloop.contracts.spec import AUTO, FAMILIES
from agentloop.data.fingerprint import module_file
from agentloop.loop.home import StateFolder

LOOPBACK = "127.0.0.1"
NOTHING_STARTED = "Nothing was started or changed."


def check_ports(spec: LoopSpec, home: StateFolder) -> None:
    """Raises PortInUse where the port of the edge or of the metrics cannot be listened on.

    Ports that a cluster of this state folder holds are fine.
    """
    wanted = {
        "serving.port": (spec.serving.host, spec.serving.port),
        "monitoring.port": (LOOPBACK, spec.monitoring.port),
    }
    for key, (host, port) in wanted.items():
        refusal = _refusal(host, port) if port else None
        holder = holder_of(port) if refusal and refusal.errno == errno.EADDRINUSE else None
        if refusal is None or (holder is not None and _is_ours(holder, home)):
            continue
        raise PortInUse(
            f"{holder.name()}, process {holder.pid}, listens there"
            if holder
            else str(refusal.strerror),
            next_step=f"free it, or set {key} in loop.yaml to another port (0 picks a free one)",
            kept=NOTHING_STARTED,
            port=port,
        )


def check_family(spec: LoopSpec, base_dir: Path) -> None:
    """Raises TrainingError where the module of a user's own family is nowhere; imports nothing."""
    family = spec.model.family
    module = family.partition(":")[0]
    if family in (*FAMILIES, AUTO) or module_file(module, base_dir) or _is_installed(module):
        return
    raise TrainingError(
        f"the family {family} is in no module beside loop.yaml and in no installed package",
        next_step=f"put {module.replace('.', os.sep)}.py beside loop.yaml, or install the package",
        kept=NOTHING_STARTED,
    )


def holder_of(port: int) -> psutil.Process | None:
    """Who listens on ``port``; None if nobody does, or nobody whom this user may see."""
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            if listens and connection.pid:
                return psutil.Process(connection.pid)
    except (psutil.Error, OSError):
        pass
    return None


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def _is_ours(process: psutil.Process, home: StateFolder) -> bool:
    """Every process of a cluster has its state folder in the environment."""
    try:
        return bool(process.environ().get("AGENTLOOP_HOME") == str(home.root))
    except (psutil.Error, OSError):
        return False


def _refusal(host: str, port: int) -> OSError | None:
    """Why the system would not let us listen there; None if it would."""
    try:
        with socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        ):
            return None
    except OSError as error:
        return error
