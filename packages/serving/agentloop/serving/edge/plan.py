"""What the edge should be doing, as data: a pure function of the control store's rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agentloop.contracts.traffic import TrafficSplit
from agentloop.serving.control.store import EdgeAddress, StagedVersion
from agentloop.serving.edge.guards import EdgeGuards, require_guarded
from agentloop.serving.naming import app_name

MAX_WEIGHT = 256
BUCKETS = 10_000


@dataclass(frozen=True, slots=True)
class VersionRoute:
    """One version: its Serve application and what HAProxy gives it.

    ``percent`` is its share of the split. ``weight`` and ``turns``, 0 to 256, are its turns among
    requests with and without a session; above 0 it is also one to rescue on. A session falls into
    one of 10,000 buckets by a hash of its name, and into the first version whose ``until`` is above
    its bucket: while one version grows at the cost of another, sessions move from the old one to
    the new one only, and shares are exact.
    """

    version: str
    app: str
    percent: float
    weight: int
    turns: int
    until: int


@dataclass(frozen=True, slots=True)
class Shadow:
    """A copy of ``percent`` of what ``of`` is asked goes to ``app`` as well."""

    of: str
    app: str
    percent: float


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """One model's versions.

    ``sole`` is the version that has everything while another is still the stable one: it is asked
    first, and what it fails is rescued on the stable version, which keeps a weight for that alone.
    """

    model: str
    versions: tuple[VersionRoute, ...]
    sole: str = ""
    shadow: Shadow | None = None


@dataclass(frozen=True, slots=True)
class EdgePlan:
    """A whole edge. ``run_dir`` holds its sockets; ``certificate`` is the digest of its PEM there.

    Raises EdgeExposed: a plan that would let strangers in unguarded cannot be made.
    """

    address: EdgeAddress
    run_dir: Path
    guards: EdgeGuards
    models: tuple[ModelRoute, ...]
    certificate: str = ""

    def __post_init__(self) -> None:
        require_guarded(self.address.host, self.guards)

    @property
    def shape(self) -> tuple[object, ...]:
        """What needs a reload to change; weights do not."""
        versions = tuple((m.model, v.version) for m in self.models for v in m.versions)
        shadows = tuple(m.shadow for m in self.models)
        return self.address, self.guards, self.certificate, versions, shadows

    @property
    def routes(self) -> dict[tuple[str, str], VersionRoute]:
        return {(m.model, v.version): v for m in self.models for v in m.versions}


def plan_edge(
    address: EdgeAddress,
    folder: Path,
    guards: EdgeGuards,
    staged: Sequence[StagedVersion],
    splits: Sequence[TrafficSplit],
    closed: Collection[tuple[str, str]] = (),
    certificate: str = "",
) -> EdgePlan:
    """The edge for these rows. A staged version that no split names has weight 0, and so has one
    that a circuit breaker has ``closed`` to traffic, by (model, version). Raises EdgeExposed."""
    by_model: dict[str, list[str]] = {}
    for item in staged:
        if not item.retiring:
            by_model.setdefault(item.model, []).append(item.version)
    known = {split.model: split for split in splits}
    models = tuple(
        _route(model, sorted(versions), known.get(model), {v for m, v in closed if m == model})
        for model, versions in sorted(by_model.items())
    )
    return EdgePlan(address, folder, guards, models, certificate)


def _route(
    model: str, versions: list[str], split: TrafficSplit | None, closed: Collection[str]
) -> ModelRoute:
    percents = {version: _percent(split, version, closed) for version in versions}
    if split is not None and sum(percents.values()) <= 0 and split.stable in percents:
        percents[split.stable] = 100.0
    ends = session_ends(percents)
    weights = scale_weights(percents)
    sole = _sole(percents, split)
    if sole and split is not None:
        weights[split.stable] = weights[sole]
    turns = weights
    if split is not None and split.by_session:
        turns = {v: MAX_WEIGHT if v == split.stable else 0 for v in versions}
    routes = tuple(
        VersionRoute(v, app_name(model, v), percents[v], weights[v], turns[v], ends[v])
        for v in versions
    )
    return ModelRoute(model, routes, sole, _shadow(model, versions, split))


def _sole(percents: Mapping[str, float], split: TrafficSplit | None) -> str:
    if split is None or split.by_session or percents.get(split.stable) != 0:
        return ""
    busy = [version for version, percent in percents.items() if percent > 0]
    return busy[0] if len(busy) == 1 else ""


def _percent(split: TrafficSplit | None, version: str, closed: Collection[str]) -> float:
    if split is None or version in closed:
        return 0.0
    return split.weights.get(version, 0.0)


def _shadow(model: str, versions: list[str], split: TrafficSplit | None) -> Shadow | None:
    if split is None or split.shadow not in versions or split.stable not in versions:
        return None
    if split.shadow_percent <= 0 or split.shadow is None:
        return None
    return Shadow(split.stable, app_name(model, split.shadow), split.shadow_percent)


def session_ends(percents: Mapping[str, float]) -> dict[str, int]:
    """Where each version's buckets end, in the order of ``percents``; 0 for all without traffic."""
    total = sum(percents.values())
    ends, sum_ = {}, 0.0
    for version, percent in percents.items():
        sum_ += percent
        ends[version] = round(BUCKETS * sum_ / total) if total > 0 else 0
    return ends


def scale_weights(percents: Mapping[str, float]) -> dict[str, int]:
    """Integers 0 to 256 whose shares are as near ``percents`` as integers of that size can be.

    10/90 becomes 1/9, never 26/230: the smaller the numbers, the sooner HAProxy's turns meet new
    weights. What is above 0 stays above 0.
    """
    total = sum(percents.values())
    if total <= 0:
        return dict.fromkeys(percents, 0)
    shares = {key: value / total for key, value in percents.items()}
    best: dict[str, int] = {}
    best_error = float("inf")
    for denominator in range(1, MAX_WEIGHT + 1):
        scaled = {key: _scaled(share, denominator) for key, share in shares.items()}
        weight = sum(scaled.values())
        error = max(abs(scaled[key] / weight - share) for key, share in shares.items())
        if error < best_error - 1e-12:
            best, best_error = scaled, error
        if best_error < 1e-12:
            break  # exact, as round shares are early
    return best


def _scaled(share: float, denominator: int) -> int:
    return max(1, round(share * denominator)) if share > 0 else 0
