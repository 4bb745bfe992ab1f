"""Which code ran: its version, and what the lock had put beside it."""

from __future__ import annotations

import hashlib
from importlib.metadata import distributions

from agentloop.lifecycle.lineage_process import code_version

OWN = "agentloop"


def code_identity() -> tuple[str, str]:
    """This code's version, and the sha256 (hex) of every installed package with its version."""
    return code_version(), lock_hash()


def lock_hash() -> str:
    """Of what is installed, not of the file: an environment that drifted from its lock differs."""
    found = {f"{one.name}=={one.version}".lower() for one in distributions() if one.name != OWN}
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()
