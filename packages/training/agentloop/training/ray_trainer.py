"""Fit with Ray Train: in the calling process (local mode), or in DDP workers."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from agentloop.contracts.errors import TrainingError
from agentloop.training.dataset import Part
from agentloop.training.fits import FitRequest, Fitted, State
from agentloop.training.ray_session import CPUS_PER_WORKER, require_ray
from agentloop.training.torch_checkpoint import (
    LocalSurroundings,
    read_checkpoint,
    write_checkpoint,
)
from agentloop.training.torch_loop import fit

CHECKPOINTS_PER_FIT = 5


def train_with_ray(
    request: FitRequest, train: Part, tune: Part, workers: int, folder: Path
) -> Fitted:
    """Fit on ``workers`` processes (0: this one); checkpoints are kept under ``folder``.

    A second call with the same folder goes on from the last checkpoint. Raises TrainingError,
    TrainingDiverged, or ClusterError if workers are asked for and Ray has not been started.
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    config: dict[str, Any] = {"request": request, "folder": str(folder)}
    if workers == 0:
        config["parts"] = (train, tune)
    else:
        require_ray()
        _tune_ray_train()
        config["parts"] = ray.put((train, tune))
    trainer = TorchTrainer(
        _train_loop,
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=request.use_gpu and workers > 0,
            resources_per_worker={"CPU": CPUS_PER_WORKER} if workers else None,
        ),
        run_config=RunConfig(
            name="ray_train",
            storage_path=str(folder),
            failure_config=FailureConfig(max_failures=1),
        ),
    )
    try:
        outcome = trainer.fit().return_value
    except ray.train.TrainingFailedError as error:
        raise TrainingError(_first_line(error)) from error
    if isinstance(outcome, TrainingError):
        raise outcome
    fitted: Fitted = outcome
    return fitted


def _tune_ray_train() -> None:
    """Ray Train reads these from the environment alone; what the user set stays."""
    import ray

    # The default of 2 s is spent after the loop has ended, twice.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    if len(ray.nodes()) == 1:
        # Nobody preempts the only node, and the watcher is one more process to start.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")


def _train_loop(config: dict[str, Any]) -> Fitted | TrainingError | None:
    """What every worker runs. A TrainingError is an answer: trying again would not help."""
    import ray
    import ray.train

    parts, request = config["parts"], config["request"]
    train, tune = ray.get(parts) if isinstance(parts, ray.ObjectRef) else parts
    world = ray.train.get_context().get_world_size()
    try:
        if world == 1 and not isinstance(parts, ray.ObjectRef):
            return fit(request, train, tune, _local(config["folder"]))
        workers = RayWorkers(request.parameters["epochs"])
        fitted = fit(request, train, tune, workers)
        return fitted if workers.rank == 0 else None
    except TrainingError as error:
        return error


def _local(folder: str) -> LocalSurroundings:
    return LocalSurroundings(Path(folder), time.monotonic)


class RayWorkers:
    """One of several DDP workers; checkpoints go through Ray Train."""

    def __init__(self, epochs: int) -> None:
        import ray.train

        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world: int = context.get_world_size()
        self._every = max(1, epochs // CHECKPOINTS_PER_FIT)

    def wrap(self, model: Any) -> Any:
        import ray.train.torch

        return ray.train.torch.prepare_model(model)

    def mean(self, value: float) -> float:
        import torch
        import torch.distributed as dist

        if not dist.is_initialized():
            return value
        total = torch.tensor(value, dtype=torch.float64)
        if dist.get_backend() == "nccl":
            total = total.to(torch.device("cuda"))
        dist.all_reduce(total)
        return float(total) / self.world

    def save(self, state: State, metrics: dict[str, float], epoch: int, last: bool) -> None:
        import ray.train
        from ray.train import Checkpoint

        if not last and epoch % self._every:
            return
        if self.rank != 0:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(Path(folder), state)
            ray.train.report(metrics, checkpoint=Checkpoint.from_directory(folder))

    def restore(self) -> State | None:
        import ray.train

        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        with checkpoint.as_directory() as folder:
            return read_checkpoint(Path(folder))


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1].strip() if lines else 'no reason was given'}"
