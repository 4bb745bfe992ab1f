"""A Ray Train trainer that starts no process which a fit does not need, and the others at once.

``TorchTrainer`` spends most of the seconds before the loop on imports: its controller imports torch
only to unpickle a setting, and the workers, which import the most, wait until it is up. Beside them
it starts an actor for datasets, though there are none, one that divides the cluster between those
and the workers, one that cleans up after a controller that died, and one through which the workers
tell each other a name.
"""

from __future__ import annotations

import threading
from typing import Any

import ray
from ray._common.constants import RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR
from ray.train.v2._internal.constants import (
    DEFAULT_RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_VALUE,
    get_env_vars_to_propagate,
)
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from agentloop.training.ray_early_workers import EarlyWorkers
from agentloop.training.ray_lean_controller import FixedPlaces, LeanController

DATASETS = "DatasetsCallback"
CLEANER = "PlacementGroupCleanerCallback"


class LeanTrainer(DataParallelTrainer):
    """A DataParallelTrainer of a fixed number of workers, without those actors.

    What the cleaner would clean up, ``fit`` does: the workers of the first attempt belong to the
    driver, and those of a later one go with the controller.
    """

    _early: EarlyWorkers

    def fit(self) -> Any:
        """As ``DataParallelTrainer.fit``; no process of the fit outlives it."""
        self._early = EarlyWorkers.start(self.scaling_config, _environment())
        try:
            return super().fit()
        finally:
            self._early.stop()

    def _create_default_callbacks(self) -> list[Any]:
        needless = {CLEANER} if self.datasets else {CLEANER, DATASETS}
        found = super()._create_default_callbacks()
        kept = [callback for callback in found if type(callback).__name__ not in needless]
        return [*kept, self._early]

    def _initialize_and_run_controller(self, **settings: Any) -> Any:
        """As its super's, which names the class of the controller."""
        here = ray.get_runtime_context().get_node_id()
        actor = ray.remote(
            num_cpus=0,
            label_selector={ray._raylet.RAY_NODE_ID_KEY: here},
            runtime_env={"env_vars": _environment()},
        )(LeanController)
        if not self.datasets:
            settings["scaling_policy"] = FixedPlaces(self.scaling_config)
        controller = actor.remote(**settings)
        if threading.current_thread() is threading.main_thread():
            self._register_sigint_handler(controller)
        try:
            ray.get(controller.run.remote())
            return ray.get(controller.get_result.remote())
        finally:
            ray.kill(controller)


def _environment() -> dict[str, str]:
    """What Ray Train hands from the driver to the controller, and on to the workers."""
    found: dict[str, str] = get_env_vars_to_propagate()
    found.setdefault(
        RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR,
        DEFAULT_RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_VALUE,
    )
    return found
