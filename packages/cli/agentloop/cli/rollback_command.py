"""``agentloop rollback``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentloop.cli.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="the name in loop.yaml")


def run(context: Context) -> int:
    """Raises ModelNotServed, StaleCluster, DeploymentError."""
    from agentloop.contracts import to_dict
    from agentloop.loop.operations import roll_back

    result = roll_back(context.home, context.environment, context.options.model)
    if context.options.json:
        context.print_json(to_dict(result))
    else:
        context.print(f"{context.options.model}: all traffic is on {result.model_version}.")
        for reason in result.reasons:
            context.print(f"  {reason}")
    return 0
