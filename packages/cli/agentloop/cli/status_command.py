"""``agentloop status``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentloop.cli.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(context: Context) -> int:
    """Reads records and asks the edge over HTTP; joins no cluster."""
    from agentloop.loop.status import read_status

    status = read_status(context.home)
    if context.options.json:
        context.print_json(status)
    else:
        _show(context, status)
    return 0


def _show(context: Context, status: dict[str, Any]) -> None:
    cluster = status["cluster"]
    context.print(f"state      {status['home']}")
    if cluster["running"]:
        context.print(f"cluster    running, {cluster['address']}, {cluster['dashboard_url']}")
    else:
        context.print("cluster    not running (agentloop up)")
    context.print(f"edge       {status['edge'] or 'not running'}")
    for model in status["models"]:
        answers = "answers" if model["ready"] else "does not answer"
        context.print(f"\n{model['model']}: {answers}, {model['endpoint'] or 'no endpoint'}")
        for version, weight in model["weights"].items():
            context.print(f"  {weight:5.1f}%  {version}")
    if not status["models"]:
        context.print("No model is served yet. Start with: agentloop run <loop.yaml>")
