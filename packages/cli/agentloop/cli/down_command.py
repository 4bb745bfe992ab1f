"""``agentloop down``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentloop.cli.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(context: Context) -> int:
    from agentloop.loop.ray_cluster import stop_cluster

    stopped = stop_cluster(context.home)
    if context.options.json:
        context.print_json({"stopped": stopped, "home": str(context.home.root)})
    elif stopped:
        context.print("The local cluster is stopped. Start it again with: agentloop up")
    else:
        context.print("No cluster of this state folder was running.")
    return 0
