"""Find a registered version and its data, and have it fitted again."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from agentloop.contracts import DatasetVersion, ModelVersion, VersionNotFound
from agentloop.loop.home import StateFolder

if TYPE_CHECKING:
    from agentloop.lifecycle import Registry
    from agentloop.loop.ray_cluster import RayCluster
    from agentloop.training.recipe import DataRecipe
    from agentloop.training.reproduction import Reproduction


def find_model(registry: Registry, name: str) -> ModelVersion:
    """``model`` (its newest version), or ``model@version`` or ``model:version``, where a version
    may be given by its beginning. Raises VersionNotFound."""
    model, mark, reference = name.replace(":", "@").partition("@")
    versions = registry.versions(model)
    fitting = [v for v in versions if v.version == reference] or [
        v for v in versions if v.version.startswith(reference)
    ]
    if not fitting or (mark and len(fitting) > 1):
        raise VersionNotFound(model, reference or "latest")
    return fitting[-1]


def reproduce_version(
    home: StateFolder, name: str, code: tuple[str, str], environment: Mapping[str, str]
) -> Reproduction:
    """Fit the version that ``name`` names again and compare; registers nothing.

    ``code`` is this code's version and lock hash. A version that was trained by several workers
    needs the cluster: it is joined, or started and stopped again. Raises VersionNotFound,
    ArtifactUnverified, VersioningFailed where neither the stored copy nor DVC has the data,
    TrainingError, ClusterError.
    """
    from agentloop.lifecycle import open_bundle
    from agentloop.lifecycle.mlflow_registry import MlflowRegistry
    from agentloop.loop.ray_cluster import RayCluster, stop_cluster
    from agentloop.training.recipe import read_recipe
    from agentloop.training.reproduction import reproduce

    started = time.monotonic()
    version = find_model(MlflowRegistry(home.tracking_uri), name)
    bundle = open_bundle(Path(version.artifact_uri), version.digest)
    recipe = read_recipe(bundle.path)
    cluster = RayCluster(home, environment)
    try:
        with tempfile.TemporaryDirectory(prefix="agentloop-reproduce-") as folder:
            work = Path(folder)
            dataset = _data(home.root / "data", recipe.data, work / "data")
            found = reproduce(
                version, recipe, dataset, bundle.path, work, code, lambda: _join(cluster)
            )
    finally:
        if cluster.started_here:
            stop_cluster(home)
    return replace(found, seconds=time.monotonic() - started)


def _join(cluster: RayCluster) -> None:
    cluster.ready()


def _data(data_dir: Path, wanted: DataRecipe, folder: Path) -> DatasetVersion:
    """The stored version, or a copy of it in ``folder``, from DVC if its own folder is gone."""
    from agentloop.data.arrow_checkout import checkout_version

    done = checkout_version(data_dir, wanted.name, wanted.version, folder)
    return replace(done.version, uri=done.folder)
