"""The workers of a fit become torch's processes.

Workers unpickle this module: it imports nothing that only the driver or the controller needs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import ray
from ray.train.backend import Backend, BackendConfig

JOIN_SECONDS = 600.0
LEAVE_SECONDS = 5.0


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


class TorchBroadcast:
    """What a worker asks of Ray Train's ``SynchronizationActor``, asked of torch's processes.

    A process that only passes on the name of a checkpoint costs nearly as much to start as a
    worker, and starts at the same time. A worker that died is noticed here as in any other
    exchange, after ``JOIN_SECONDS`` at the latest.
    """

    @property
    def broadcast_from_rank_zero(self) -> TorchBroadcast:
        return self

    def remote(self, *, world_size: int, data: Any, **details: Any) -> Any:
        """The first worker's ``data``, as a reference, when all workers have come here."""
        if world_size > 1:
            import torch.distributed as dist

            held = [data]
            dist.broadcast_object_list(held, src=0)
            data = held[0]
        return ray.put(data)


def import_ahead() -> None:
    """In a worker that waits for the controller: what the loop will import."""
    import torch.distributed  # noqa: F401

    from agentloop.training import ray_workers, torch_families  # noqa: F401


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
