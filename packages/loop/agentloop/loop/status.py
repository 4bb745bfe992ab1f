"""What runs and what is served, from records and over HTTP: no cluster is joined."""

from __future__ import annotations

import urllib.request
from typing import Any

from agentloop.contracts import ModelNotServed
from agentloop.loop.cluster import is_alive, read_record
from agentloop.loop.home import StateFolder
from agentloop.serving import control_store, inside_url, read_endpoint, read_split

ANSWER_SECONDS = 2.0


def read_status(home: StateFolder) -> dict[str, Any]:
    """JSON-ready: ``home``, ``cluster``, ``edge`` and one entry a model."""
    record = read_record(home)
    running = record is not None and is_alive(record)
    served = (home.root / "control.db").exists()
    address = read_endpoint(home.root) if served and running else None
    models = [split.model for split in control_store(home.root).splits()] if served else []
    return {
        "home": str(home.root),
        "cluster": {
            "running": running,
            "address": record.address if record and running else "",
            "dashboard_url": record.dashboard_url if record and running else "",
        },
        "edge": address.url if address else "",
        "models": [_model(home, name, address.url if address else "") for name in models],
    }


def _model(home: StateFolder, name: str, url: str) -> dict[str, Any]:
    try:
        weights = dict(read_split(home.root, name).weights)
    except ModelNotServed:
        weights = {}
    model_url = f"{url}/v2/models/{name}" if url else ""
    return {
        "model": name,
        "endpoint": f"{model_url}/infer" if url else "",
        # By the door inside: the public one may ask for a key and for trust in its certificate.
        "ready": bool(url) and _answers(f"{inside_url(home.root)}/v2/models/{name}/ready"),
        "weights": weights,
    }


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
