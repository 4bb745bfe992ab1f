"""The graph of lineage as a tree, for people."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from textwrap import shorten
from typing import TextIO

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from agentloop.loop.lineage_graph import LineageColumn, LineageGraph, LineageNode

STATES = {
    "START": ("not finished", "yellow"),
    "COMPLETE": ("done", "green"),
    "FAIL": ("failed", "red"),
    "ABORT": ("stopped", "red"),
}
MOST_INPUTS = 8
MOST_ERROR = 300
MOST_TOLD = 120
WIDE = 10_000


def print_lineage(graph: LineageGraph, columns: bool, stream: TextIO) -> None:
    """From each source to what is served; with ``columns`` also what each column is made of."""
    # Only a person's terminal has a width: elsewhere a fact stays whole on its line.
    console = Console(file=stream, highlight=False, width=None if stream.isatty() else WIDE)
    shown: set[str] = set()
    for root in graph.roots:
        tree = Tree(_label(graph.nodes[root]))
        _grow(tree, graph, root, shown)
        console.print(tree)
    if columns:
        for tree in _column_trees(graph):
            console.print()
            console.print(tree)


def _grow(tree: Tree, graph: LineageGraph, node: str, shown: set[str]) -> None:
    """A node is shown once: below the first that leads to it. A second source says so."""
    shown.add(node)
    for target in graph.after(node):
        label = _label(graph.nodes[target])
        if target not in shown:
            _grow(tree.add(label), graph, target, shown)
        elif graph.nodes[node].kind == "source":
            tree.add(label.append(" (above)", style="dim"))


def _label(node: LineageNode) -> Text:
    if node.kind == "run":
        return _run_label(node)
    told = Text(f"{node.kind} ", style="dim")
    if node.kind == "source":
        told.append(node.uri or f"{node.namespace}/{node.name}")
    else:
        told.append(node.short_name, style="bold")
        told.append(f" {node.version}" if node.version else "")
    facts = [f"{node.rows:,} rows"] if node.rows is not None else []
    if node.kind in ("model", "report") and node.description:
        facts.append(shorten(node.description, MOST_TOLD, placeholder=" …"))
    elif node.kind == "endpoint" and node.uri:
        facts.append(node.uri)
    told.append("".join(f", {fact}" for fact in facts), style="dim")
    return told


def _run_label(run: LineageNode) -> Text:
    state, style = STATES.get(run.state, (run.state.lower(), ""))
    told = Text.assemble((f"{run.name.rpartition('.')[2]} ", "dim"), (state, style))
    began, ended = _time(run.started), _time(run.ended)
    if began is not None:
        told.append(f", {began:%Y-%m-%d %H:%M:%S} UTC", style="dim")
    if began is not None and ended is not None:
        told.append(f", {(ended - began).total_seconds():.1f} s", style="dim")
    if run.error:
        told.append(f": {shorten(run.error, MOST_ERROR, placeholder=' …')}", style="red")
    return told


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _column_trees(graph: LineageGraph) -> Iterable[Tree]:
    for node in graph.nodes.values():
        found = [column for column in graph.columns if column.node == node.id]
        if found:
            tree = Tree(Text(f"columns of {node.kind} {node.short_name} {node.version}"))
            for column in found:
                tree.add(_column(column))
            yield tree


def _column(column: LineageColumn) -> Text:
    names = list(dict.fromkeys(name for _, name in column.inputs))
    more = f" and {len(names) - MOST_INPUTS} more" if len(names) > MOST_INPUTS else ""
    told = Text(column.column or "(which rows)", style="bold" if column.column else "dim")
    told.append(f" ← {', '.join(names[:MOST_INPUTS])}{more}")
    return told.append(f"  {column.how}" if column.how else "", style="dim")
