"""What every lineage event says of the process that emits it."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

from agentloop.contracts.errors import AgentLoopError


@cache
def code_version() -> str:
    """The installed version of Agent Loop; ``source`` where it runs from a checkout."""
    try:
        return installed_version("agentloop")
    except PackageNotFoundError:
        return "source"


def ray_engine() -> tuple[str, str] | None:
    """Ray's name and version, if it is at work here: it is not imported to find out."""
    version = getattr(sys.modules.get("ray"), "__version__", None)
    return ("Ray", str(version)) if version else None


def error_text(error: BaseException | None) -> str:
    """An error as an event tells it: its class, and what it says happened."""
    if error is None:
        return ""
    said = error.summary if isinstance(error, AgentLoopError) else str(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
