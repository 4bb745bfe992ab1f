"""What runs in the controller's process of a fit: Ray Train's own, with fewer processes.

This replaces names inside Ray Train's modules, in a process that serves one fit and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup, state, worker_group
from ray.train.v2._internal.execution.worker_group.placement_group_handle import (
    DefaultPlacementGroupHandle,
)
from ray.train.v2._internal.execution.worker_group.worker import Worker

from agentloop.training.ray_early_workers import EarlyWorkers
from agentloop.training.ray_processes import TorchBroadcast


class LeanWorkerGroup(WorkerGroup):
    """Takes over the workers that are there already; every later attempt starts its own."""

    _early: Sequence[Any] = ()

    def _create_placement_group(self, scaling_config: Any, worker_group_context: Any) -> Any:
        for callback in self._callbacks:
            if isinstance(callback, EarlyWorkers):
                self._early = callback.take()
                if self._early:
                    return DefaultPlacementGroupHandle(callback.placement)
        return super()._create_placement_group(scaling_config, worker_group_context)

    def _create_workers(
        self, num_workers: int, placement_group: Any, resources_per_worker: Any, **more: Any
    ) -> list[Any]:
        actors, self._early = self._early, ()
        if not actors:
            return list(
                super()._create_workers(num_workers, placement_group, resources_per_worker, **more)
            )
        try:
            described = ray.get([actor.get_metadata.remote() for actor in actors])
        except RayActorError as error:
            for actor in actors:
                ray.kill(actor)
            raise WorkerGroupStartupFailedError(f"a worker did not start: {error}") from error
        workers = [
            Worker(actor, about, resources_per_worker, placement_group_bundle_index=index)
            for index, (actor, about) in enumerate(zip(actors, described, strict=True))
        ]
        return list(self._assign_worker_ranks(workers))

    def set_required_barrier_ranks(self, ranks: Any) -> bool:
        """No: torch's exchanges need every worker."""
        return False


class FixedPlaces(FixedScalingPolicy):
    """A fixed number of workers whose placement group alone asks for nodes.

    The coordinator that Ray Train tells of them besides divides a cluster between it and Ray Data,
    and is an actor more to start.
    """

    def after_controller_start(self, train_run_context: Any) -> None:
        pass

    def _maybe_send_resource_request(self) -> None:
        pass


class LeanController(TrainController):
    """A TrainController whose workers do without a SynchronizationActor."""

    worker_group_cls = LeanWorkerGroup

    def __init__(self, **settings: Any) -> None:
        worker_group.SynchronizationActor = _NoActor
        state._shutdown_sync_actor = _no_shutdown
        super().__init__(**settings)


class _NoActor:
    """Where Ray Train starts the actor, it gets what the workers use in its place."""

    @classmethod
    def options(cls, **settings: Any) -> type[_NoActor]:
        return cls

    @staticmethod
    def remote(**settings: Any) -> TorchBroadcast:
        return TorchBroadcast()


def _no_shutdown(broadcast: TorchBroadcast) -> None:
    pass
