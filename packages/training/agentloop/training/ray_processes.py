"""A Ray Train trainer that starts no process which a fit does not need.

``TorchTrainer`` spends most of the seconds before the loop on imports: its controller imports torch
only to unpickle a setting, and beside the workers it starts an actor for datasets, though there are
none, and one that cleans up after a controller that died. Each costs seconds of a processor that
the workers are waiting for.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.train.backend import Backend, BackendConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

JOIN_SECONDS = 600.0
LEAVE_SECONDS = 5.0
DATASETS = "DatasetsCallback"
CLEANER = "PlacementGroupCleanerCallback"


@dataclass
class TorchProcesses(BackendConfig):
    """What ``ray.train.torch.TorchConfig`` stands for, without torch in the controller."""

    @property
    def backend_cls(self) -> type[Backend]:
        return _TorchProcesses


class _TorchProcesses(Backend):
    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        gpus = worker_group.get_resources_per_worker().get("GPU", 0)
        address = worker_group.execute_single(0, _free_address)
        world = len(worker_group)
        joining = [
            worker_group.execute_single_async(rank, _join, address, rank, world, gpus > 0)
            for rank in range(world)
        ]
        ray.get(joining)

    def on_shutdown(self, worker_group: Any, backend_config: BackendConfig) -> None:
        if len(worker_group) > 1:
            ray.wait(
                worker_group.execute_async(_leave),
                num_returns=len(worker_group),
                timeout=LEAVE_SECONDS,
            )


class LeanTrainer(DataParallelTrainer):
    """A DataParallelTrainer without the two actors.

    The placement group of a controller that dies goes with the driver, which dies of it too.
    """

    def fit(self) -> Any:
        # The controller waits for this actor before it starts the workers; a cluster has one, and
        # the first fit starts it while the controller is still importing.
        with suppress(Exception):
            _coordinator()
        return super().fit()

    def _create_default_callbacks(self) -> list[Any]:
        needless = {CLEANER} if self.datasets else {CLEANER, DATASETS}
        found = super()._create_default_callbacks()
        return [callback for callback in found if type(callback).__name__ not in needless]


def _coordinator() -> None:
    from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import (
        get_or_create_autoscaling_coordinator,
    )

    get_or_create_autoscaling_coordinator()


def _free_address() -> tuple[str, int]:
    from ray.train._internal.utils import get_address_and_port

    address: tuple[str, int] = get_address_and_port()
    return address


def _join(address: tuple[str, int], rank: int, world: int, use_gpu: bool) -> None:
    """In a worker: become one of torch's processes, under the names that torch's tools look for."""
    from datetime import timedelta

    import ray.train
    import torch
    import torch.distributed as dist

    context = ray.train.get_context()
    os.environ.update(
        MASTER_ADDR=address[0],
        MASTER_PORT=str(address[1]),
        RANK=str(rank),
        WORLD_SIZE=str(world),
        LOCAL_RANK=str(context.get_local_rank()),
        LOCAL_WORLD_SIZE=str(context.get_local_world_size()),
        NODE_RANK=str(context.get_node_rank()),
    )
    if use_gpu:
        import ray.train.torch

        torch.cuda.set_device(ray.train.torch.get_device())
    dist.init_process_group(
        "nccl" if use_gpu else "gloo",
        init_method="env://",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=JOIN_SECONDS),
    )


def _leave() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
