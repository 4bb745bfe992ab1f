"""What is served where, read from the control store: no cluster, no heavy import."""

from __future__ import annotations

from pathlib import Path

from agentloop.contracts.errors import ModelNotServed
from agentloop.contracts.traffic import TrafficSplit
from agentloop.serving.control.sqlite_control_store import SqliteControlStore
from agentloop.serving.control.store import EdgeAddress
from agentloop.serving.edge.guards import load_guards
from agentloop.serving.run_folder import run_dir


def control_store(home: Path) -> SqliteControlStore:
    """The control store of a state folder."""
    return SqliteControlStore(home / "control.db")


def read_endpoint(home: Path) -> EdgeAddress | None:
    """Where the serving plane of ``home`` listens; None while it is down."""
    return control_store(home).address()


def inside_url(home: Path) -> str:
    """The base URL of the serving plane of ``home`` for processes of this user on this machine: it
    asks for no key and speaks no TLS. Raises ModelNotServed while the plane is down."""
    address = read_endpoint(home)
    if address is None:
        raise ModelNotServed("*", next_step="agentloop up")
    guards = load_guards(run_dir(home))
    return guards.inside.url if guards and guards.inside else address.url


def read_split(home: Path, model: str) -> TrafficSplit:
    """The traffic split of ``model``. Raises ModelNotServed."""
    split = control_store(home).split(model)
    if split is None:
        raise ModelNotServed(model)
    return split


def infer_url(address: EdgeAddress, model: str) -> str:
    """Where clients POST their V2 requests."""
    return f"{address.url}/v2/models/{model}/infer"
