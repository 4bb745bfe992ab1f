"""The hostile part: one version behind the edge, and whatever can be sent to it."""

from __future__ import annotations

from typing import Any

from hostile import run as attack
from network import MODEL
from served import Served

Rows = list[dict[str, Any]]


def run(quick: bool) -> tuple[Rows, Rows]:
    """Rows and targets."""
    with Served() as served:
        rows, targets = attack(quick, served.url, MODEL, served.bodies[0])
    return list(rows), list(targets)
