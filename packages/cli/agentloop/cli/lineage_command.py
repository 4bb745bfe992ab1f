"""``agentloop lineage``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentloop.cli.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="NAME", help="a dataset, a model, a version of one, or its beginning"
    )
    parser.add_argument(
        "--columns", action="store_true", help="also show what each column is made of"
    )


def run(context: Context) -> int:
    """Raises LineageNotFound (28)."""
    from agentloop.contracts import to_dict
    from agentloop.lifecycle.openlineage_emitter import LINEAGE_FILE, FileLineage
    from agentloop.loop.lineage_graph import build_graph, select

    events = FileLineage(context.home.root / LINEAGE_FILE).events()
    graph = select(build_graph(events), context.options.name)
    if context.options.json:
        told: dict[str, Any] = {
            "name": context.options.name,
            "nodes": [to_dict(node) for node in graph.nodes.values()],
            "edges": [{"from": source, "to": target} for source, target in graph.edges],
        }
        if context.options.columns:
            told["columns"] = [to_dict(column) for column in graph.columns]
        context.print_json(told)
    else:
        from agentloop.cli.rich_lineage import print_lineage

        print_lineage(graph, context.options.columns, context.result)
    return 0
