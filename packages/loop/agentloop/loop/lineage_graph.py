"""The graph from sources to what is served, built of OpenLineage events alone."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agentloop.contracts import DataVersionNotFound

NEAR = 0.5
KINDS = ("source", "dataset", "model", "report", "endpoint")


@dataclass(frozen=True, slots=True)
class LineageNode:
    """A ``run``, or a dataset of another ``kind`` at one ``version``.

    ``state`` is START, COMPLETE, FAIL or ABORT; ``started`` and ``ended`` are ISO 8601 times.
    """

    id: str
    kind: str
    namespace: str
    name: str
    version: str = ""
    state: str = ""
    started: str = ""
    ended: str = ""
    rows: int | None = None
    error: str = ""
    description: str = ""
    uri: str = ""

    @property
    def short_name(self) -> str:
        """The name without the kind in front: ``churn`` of ``dataset/churn``."""
        return self.name.removeprefix(f"{self.kind}/")


@dataclass(frozen=True, slots=True)
class LineageColumn:
    """A column of the node ``node``: ``inputs`` are (dataset's name, column) pairs, ``how`` what
    was done to them. ``column`` is empty for the inputs that decide which rows there are."""

    node: str
    column: str
    inputs: tuple[tuple[str, str], ...]
    how: str = ""


@dataclass(frozen=True, slots=True)
class LineageGraph:
    """``edges`` go from what was read, through runs, to what was made: pairs of nodes' ids."""

    nodes: Mapping[str, LineageNode] = field(default_factory=dict)
    edges: tuple[tuple[str, str], ...] = ()
    columns: tuple[LineageColumn, ...] = ()

    @property
    def roots(self) -> tuple[str, ...]:
        """Nodes that come of nothing in the graph."""
        made = {target for _, target in self.edges}
        return tuple(node for node in self.nodes if node not in made)

    def after(self, node: str) -> tuple[str, ...]:
        """What ``node`` leads to, in the order it was told."""
        return tuple(target for source, target in self.edges if source == node)


class LineageNotFound(DataVersionNotFound):
    """No dataset, model or version is called ``dataset``; ``known`` are the names most like it."""

    @property
    def summary(self) -> str:
        if not self.known:
            return f"Lineage knows nothing yet, so nothing of '{self.dataset}'."
        near = difflib.get_close_matches(self.dataset, self.known, n=1, cutoff=NEAR)
        told = f"Did you mean '{near[0]}'?" if near else f"It knows {', '.join(self.known)}."
        return f"Lineage knows no '{self.dataset}'. {told}"

    @property
    def next_step(self) -> str:  # type: ignore[override]
        if not self.known:
            return "agentloop run loop.yaml, or agentloop ingest loop.yaml"
        return f"agentloop lineage {self.known[0]}"


def build_graph(events: Iterable[Mapping[str, Any]]) -> LineageGraph:
    """``events`` oldest first, as OpenLineage's JSON. Of a run that was told several times the
    last state counts. What is no run event with inputs or outputs is passed over."""
    nodes: dict[str, LineageNode] = {}
    edges: dict[tuple[str, str], None] = {}
    columns: dict[tuple[str, str], LineageColumn] = {}
    for event in events:
        try:
            run = _run(event, nodes)
            sides = [*event.get("inputs", ()), *event.get("outputs", ())]
            seen = [_dataset(dataset, nodes) for dataset in sides]
            found = [
                c for made, node in zip(sides, seen, strict=True) for c in _columns(made, node)
            ]
        except (KeyError, TypeError, AttributeError):
            continue
        if not seen:
            continue
        nodes |= {node.id: node for node in (run, *seen)}
        read = len(event.get("inputs", ()))
        edges |= {(node.id, run.id): None for node in seen[:read]}
        edges |= {(run.id, node.id): None for node in seen[read:]}
        columns |= {(column.node, column.column): column for column in found}
    return LineageGraph(nodes, tuple(edges), tuple(columns.values()))


def select(graph: LineageGraph, name: str) -> LineageGraph:
    """What ``name`` came of, and what came of it. It is a dataset, a model, a source, a version of
    one, or the beginning of either. Raises LineageNotFound with the nearest names."""
    seeds = _matches(graph, name)
    if not seeds:
        raise LineageNotFound(name, "", _nearest(graph, name))
    forward, backward = defaultdict(list), defaultdict(list)
    for source, target in graph.edges:
        forward[source].append(target)
        backward[target].append(source)
    kept = _reach(seeds, forward) | _reach(seeds, backward)
    return LineageGraph(
        {key: node for key, node in graph.nodes.items() if key in kept},
        tuple(edge for edge in graph.edges if kept.issuperset(edge)),
        tuple(column for column in graph.columns if column.node in kept),
    )


def _run(event: Mapping[str, Any], nodes: Mapping[str, LineageNode]) -> LineageNode:
    run, job, at = event["run"], event["job"], str(event["eventTime"])
    state = str(event.get("eventType", ""))
    key = f"run:{run['runId']}"
    known = nodes.get(key) or LineageNode(key, "run", job["namespace"], job["name"])
    if state == "START":
        return replace(known, state=state, started=at, ended="", error="")
    error = run.get("facets", {}).get("errorMessage", {}).get("message", "")
    return replace(known, state=state, started=known.started or at, ended=at, error=str(error))


def _dataset(dataset: Mapping[str, Any], nodes: Mapping[str, LineageNode]) -> LineageNode:
    facets = dataset.get("facets", {})
    version = str(facets.get("version", {}).get("datasetVersion", ""))
    namespace, name = str(dataset["namespace"]), str(dataset["name"])
    key = f"{namespace}/{name}@{version}" if version else f"{namespace}/{name}"
    kind = str(facets.get("datasetType", {}).get("subType", "")).lower()
    known = nodes.get(key) or LineageNode(
        key, kind if kind in KINDS else "source", namespace, name, version
    )
    rows = dataset.get("outputFacets", {}).get("outputStatistics", {}).get("rowCount", known.rows)
    told = facets.get("documentation", {}).get("description", "") or known.description
    uri = facets.get("dataSource", {}).get("uri", "") or known.uri
    return replace(known, rows=rows, description=told, uri=uri)


def _columns(dataset: Mapping[str, Any], node: LineageNode) -> Iterator[LineageColumn]:
    facet = dataset.get("facets", {}).get("columnLineage", {})
    told = [(name, made["inputFields"]) for name, made in facet.get("fields", {}).items()]
    told += [("", facet["dataset"])] if facet.get("dataset") else []
    for column, inputs in told:
        done = (change for source in inputs for change in source.get("transformations", ()))
        how = dict.fromkeys(d["description"] for d in done if d.get("description"))
        pairs = tuple((str(source["name"]), str(source["field"])) for source in inputs)
        yield LineageColumn(node.id, column, pairs, "; ".join(how))


def _matches(graph: LineageGraph, name: str) -> set[str]:
    """An exact name before an exact version, and those before a beginning of either."""
    things = [node for node in graph.nodes.values() if node.kind != "run"]
    named = {node.id for node in things if name in (node.short_name, node.name)}
    if named:
        # A run that failed made nothing that could be found by name.
        runs = graph.nodes.values()
        return named | {run.id for run in runs if run.kind == "run" and _is_of(run, name)}
    for found in (
        {node.id for node in things if node.version == name},
        {node.id for node in things if name and node.version.startswith(name)},
        {node.id for node in things if name and node.short_name.startswith(name)},
        {run.id for run in graph.nodes.values() if run.kind == "run" and _is_of(run, name)},
    ):
        if found:
            return found
    return set()


def _is_of(run: LineageNode, name: str) -> bool:
    return run.name.rpartition(".")[0] == name or run.name == name


def _nearest(graph: LineageGraph, name: str) -> tuple[str, ...]:
    """At most three names or versions, nearest first; else the newest ones."""
    known = dict.fromkeys(
        text
        for node in reversed(list(graph.nodes.values()))
        for text in ((node.version, node.short_name) if node.kind in ("dataset", "model") else ())
        if text
    )
    return tuple(difflib.get_close_matches(name, known, n=3, cutoff=NEAR) or list(known)[:3])


def _reach(seeds: Iterable[str], neighbours: Mapping[str, list[str]]) -> set[str]:
    seen, waiting = set(seeds), list(seeds)
    while waiting:
        fresh = set(neighbours.get(waiting.pop(), ())) - seen
        seen |= fresh
        waiting += fresh
    return seen
