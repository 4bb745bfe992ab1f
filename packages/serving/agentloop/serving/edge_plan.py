"""What the edge should be doing, as data: a pure function of the control store's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agentloop.contracts.traffic import TrafficSplit
from agentloop.serving.control_store import EdgeAddress, StagedVersion
from agentloop.serving.naming import app_name

MAX_WEIGHT = 256


@dataclass(frozen=True, slots=True)
class VersionRoute:
    """One version: its Serve application and its HAProxy weight, 0 to 256."""

    version: str
    app: str
    weight: int


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """One model's versions."""

    model: str
    versions: tuple[VersionRoute, ...]


@dataclass(frozen=True, slots=True)
class EdgePlan:
    """A whole edge. ``run_dir`` holds its sockets."""

    address: EdgeAddress
    run_dir: Path
    max_body_bytes: int
    models: tuple[ModelRoute, ...]

    @property
    def shape(self) -> tuple[tuple[str, str], ...]:
        """What needs a reload to change; weights do not."""
        return tuple((m.model, v.version) for m in self.models for v in m.versions)

    @property
    def weights(self) -> dict[tuple[str, str], int]:
        return {(m.model, v.version): v.weight for m in self.models for v in m.versions}


def plan_edge(
    address: EdgeAddress,
    folder: Path,
    max_body_bytes: int,
    staged: Sequence[StagedVersion],
    splits: Sequence[TrafficSplit],
) -> EdgePlan:
    """The edge for these rows. A staged version that no split names has weight 0."""
    by_model: dict[str, list[str]] = {}
    for item in staged:
        if not item.retiring:
            by_model.setdefault(item.model, []).append(item.version)
    percents = {split.model: split.weights for split in splits}
    models = tuple(
        _route(model, sorted(versions), percents.get(model, {}))
        for model, versions in sorted(by_model.items())
    )
    return EdgePlan(address, folder, max_body_bytes, models)


def _route(model: str, versions: list[str], percents: Mapping[str, float]) -> ModelRoute:
    scaled = scale_weights({version: percents.get(version, 0.0) for version in versions})
    return ModelRoute(
        model, tuple(VersionRoute(v, app_name(model, v), scaled[v]) for v in versions)
    )


def scale_weights(percents: Mapping[str, float]) -> dict[str, int]:
    """Integers 0 to 256 whose shares are as near ``percents`` as integers of that size can be.

    10/90 becomes 1/9 or a multiple of it, never 26/230. What is above 0 stays above 0.
    """
    total = sum(percents.values())
    if total <= 0:
        return dict.fromkeys(percents, 0)
    shares = {key: value / total for key, value in percents.items()}
    best: dict[str, int] = {}
    best_error = float("inf")
    for denominator in range(MAX_WEIGHT, 0, -1):
        scaled = {key: _scaled(share, denominator) for key, share in shares.items()}
        weight = sum(scaled.values())
        error = max(abs(scaled[key] / weight - share) for key, share in shares.items())
        if error < best_error - 1e-12:
            best, best_error = scaled, error
    return best


def _scaled(share: float, denominator: int) -> int:
    return max(1, round(share * denominator)) if share > 0 else 0
