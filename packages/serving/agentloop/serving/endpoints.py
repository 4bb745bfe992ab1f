"""What is served where, read from the control store: no cluster, no heavy import."""

from __future__ import annotations

from pathlib import Path

from agentloop.contracts.errors import ModelNotServed
from agentloop.contracts.traffic import TrafficSplit
from agentloop.serving.control_store import EdgeAddress
from agentloop.serving.sqlite_control_store import SqliteControlStore


def control_store(home: Path) -> SqliteControlStore:
    """The control store of a state folder."""
    return SqliteControlStore(home / "control.db")


def read_endpoint(home: Path) -> EdgeAddress | None:
    """Where the serving plane of ``home`` listens; None while it is down."""
    return control_store(home).address()


def read_split(home: Path, model: str) -> TrafficSplit:
    """The traffic split of ``model``. Raises ModelNotServed."""
    split = control_store(home).split(model)
    if split is None:
        raise ModelNotServed(model)
    return split


def infer_url(address: EdgeAddress, model: str) -> str:
    """Where clients POST their V2 requests."""
    return f"{address.url}/v2/models/{model}/infer"
