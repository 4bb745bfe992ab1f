"""``agentloop up``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentloop.cli.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(context: Context) -> int:
    """Raises ClusterError, PortInUse."""
    import sys

    from agentloop.loop.operations import bring_up

    print("Starting the local Ray cluster and the serving plane …", file=sys.stderr)
    result = bring_up(context.home, context.environment)
    if context.options.json:
        context.print_json(result)
        return 0
    context.print(f"cluster    {result['address']}")
    context.print(f"dashboard  {result['dashboard_url']}")
    context.print(f"edge       {result['edge']}")
    for version in result["restored"]:
        context.print(f"serving    {version}")
    return 0
