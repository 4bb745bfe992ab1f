"""What an operator does outside of a run: bring the plane up, roll a model back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from agentloop.contracts import DeploymentResult, LoopSpec, StaleCluster
from agentloop.loop.cluster import is_alive, read_record
from agentloop.loop.events import EventLog
from agentloop.loop.home import StateFolder, read_json
from agentloop.loop.ray_cluster import RayCluster


def remember_spec(home: StateFolder, spec: LoopSpec) -> None:
    """Keep the spec that a model is served under, for operations that have no loop.yaml."""
    from agentloop.loop.home import write_json

    write_json(home.root / "specs" / f"{spec.name}.json", spec.model_dump(mode="json"))


def recalled_specs(home: StateFolder) -> tuple[LoopSpec, ...]:
    """The specs of every model that was ever deployed from this folder."""
    paths = sorted((home.root / "specs").glob("[!.]*.json"))
    return tuple(LoopSpec.model_validate(value) for path in paths if (value := read_json(path)))


def roll_back(home: StateFolder, environment: Mapping[str, str], model: str) -> DeploymentResult:
    """All traffic of ``model`` back to its previous version, checked and logged.

    Raises ModelNotServed, StaleCluster, DeploymentError.
    """
    from agentloop.serving import read_split

    split = read_split(home.root, model)
    join_running_cluster(home, environment)
    spec = next(spec for spec in recalled_specs(home) if spec.name == model)
    from agentloop.lifecycle.mlflow_registry import MlflowRegistry
    from agentloop.loop.serving_setup import open_deployment

    deployment = open_deployment(spec, home, MlflowRegistry(home.tracking_uri), environment)
    result = asyncio.run(deployment.rollback(model))
    EventLog(home.events).append(
        "rolled_back", model, datetime.now(UTC), result.model_version, left=split.stable
    )
    return result


def join_running_cluster(home: StateFolder, environment: Mapping[str, str]) -> RayCluster:
    """The cluster that is up, joined; none is started. Raises StaleCluster, ClusterError."""
    record = read_record(home)
    if not environment.get("RAY_ADDRESS") and (record is None or not is_alive(record)):
        raise StaleCluster("it is not running", next_step="agentloop up")
    cluster = RayCluster(home, environment)
    cluster.ready()
    return cluster


def bring_up(home: StateFolder, environment: Mapping[str, str]) -> dict[str, Any]:
    """Start or join the cluster, then serve and watch again whatever was served before.

    Raises ClusterError, PortInUse.
    """
    home.create()
    cluster = RayCluster(home, environment)
    record = cluster.ready()
    from agentloop.contracts import ServingSpec
    from agentloop.serving import start_serving_plane

    specs = recalled_specs(home)
    serving = specs[0].serving if specs else ServingSpec()
    address = start_serving_plane(home.root, serving)
    return {
        "address": record.address,
        "dashboard_url": record.dashboard_url,
        "edge": address.url,
        "restored": _restore(home, specs),
    }


def _restore(home: StateFolder, specs: tuple[LoopSpec, ...]) -> list[str]:
    if not specs:
        return []
    from agentloop.lifecycle.mlflow_registry import MlflowRegistry
    from agentloop.loop.serving_setup import open_deployment
    from agentloop.monitoring import start_monitoring
    from agentloop.serving import read_split

    registry = MlflowRegistry(home.tracking_uri)
    restored = asyncio.run(open_deployment(specs[0], home, registry).restore())
    for spec in specs:
        version = registry.get(spec.name, read_split(home.root, spec.name).stable)
        start_monitoring(spec.monitoring, version, home=home.root)
    return list(restored)
