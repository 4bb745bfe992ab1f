"""The loop: observe, decide, act; durable, one run at a time.

Names are loaded on first use, so that the command line starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentloop.loop.home import StateFolder, open_home
    from agentloop.loop.progress import Progress, SilentProgress
    from agentloop.loop.runner import RunRequest, run_loop

__all__ = ["Progress", "RunRequest", "SilentProgress", "StateFolder", "open_home", "run_loop"]

_HOMES = {
    "Progress": "agentloop.loop.progress",
    "RunRequest": "agentloop.loop.runner",
    "SilentProgress": "agentloop.loop.progress",
    "StateFolder": "agentloop.loop.home",
    "open_home": "agentloop.loop.home",
    "run_loop": "agentloop.loop.runner",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
