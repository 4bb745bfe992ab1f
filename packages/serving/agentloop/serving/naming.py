"""How versions are named in Serve, in the edge and on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

NAMESPACE = "agentloop"
EDGE_ACTOR = "agentloop-edge"


def app_name(model: str, version: str) -> str:
    """The Serve application, and its route without the slash, of one version."""
    return f"{model}--{version}"


def private_path(model: str, version: str) -> str:
    """The public edge's path to one version at any weight; loopback only."""
    return f"/_versions/{model}/{version}"


def socket_path(folder: Path, app: str) -> Path:
    """The unix socket of one version's listener."""
    return folder / f"{hashlib.sha256(app.encode()).hexdigest()[:12]}.sock"
