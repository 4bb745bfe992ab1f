"""Workers that start beside Ray Train's controller, which would start them when it is up."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import ray
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.train.v2._internal.execution.worker_group.worker import RayTrainWorker
from ray.train.v2._internal.util import bundle_to_remote_args
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from agentloop.training.ray_processes import import_ahead


class EarlyWorkers(WorkerGroupCallback):
    """The workers of a fit's first attempt, and where they are placed.

    They belong to the driver, and end with it. Ray Train knows no way to be handed workers: they
    reach the controller's ``LeanWorkerGroup`` among its callbacks.
    """

    def __init__(self, placement: Any, actors: list[Any]) -> None:
        self.placement = placement
        self._actors = actors

    @classmethod
    def start(cls, scaling: Any, environment: Mapping[str, str]) -> EarlyWorkers:
        """Ask for the very places and actors that Ray Train would ask for, and wait for none.

        ``scaling``: a ScalingConfig of a fixed number of workers; ``environment``: variables of
        their processes.
        """
        resources = scaling._resources_per_worker_not_none
        placement = placement_group(
            [resources] * scaling.num_workers, strategy=scaling.placement_strategy
        )
        worker = ray.remote(
            runtime_env={"env_vars": dict(environment)}, **bundle_to_remote_args(resources)
        )(RayTrainWorker)
        actors = [
            worker.options(
                scheduling_strategy=PlacementGroupSchedulingStrategy(placement, index)
            ).remote()
            for index in range(scaling.num_workers)
        ]
        for actor in actors:
            actor.execute.remote(import_ahead)
        return cls(placement, actors)

    def take(self) -> list[Any]:
        """In the controller: the workers, once. Ray Train starts those of a later attempt."""
        actors, self._actors = self._actors, []
        return actors

    def stop(self) -> None:
        """In the driver: end what is left of them, whether or not the controller took them."""
        for actor in self._actors:
            with suppress(Exception):
                ray.kill(actor)
        with suppress(Exception):
            remove_placement_group(self.placement)
