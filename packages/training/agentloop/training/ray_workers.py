"""What runs in each of Ray Train's DDP workers."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from agentloop.contracts.errors import AgentLoopError, DiskFull, TrainingError
from agentloop.training.families import family_of
from agentloop.training.fits import Fitted, State
from agentloop.training.live_journal import tell_epoch
from agentloop.training.processors import usable_cpus

CHECKPOINTS_PER_FIT = 5
SECONDS_BETWEEN = 30.0


@dataclass(frozen=True, slots=True)
class Packed:
    """A fit on its way to the driver. It passes through Ray Train's controller, which would import
    torch, for two seconds, only to look at tensors: ``weights`` are bytes until they are there."""

    fitted: Fitted
    weights: bytes

    @classmethod
    def of(cls, fitted: Fitted) -> Packed:
        import torch

        buffer = BytesIO()
        torch.save(fitted.weights, buffer)
        return cls(replace(fitted, weights={}), buffer.getvalue())

    def unpack(self) -> Fitted:
        import torch

        weights = torch.load(BytesIO(self.weights), weights_only=True)
        return replace(self.fitted, weights=weights)


def train_in_worker(config: dict[str, Any]) -> Packed | AgentLoopError | None:
    """Ray Train's loop: fit, and answer from the first worker.

    A typed error is an answer, not a failure: trying again would not help.
    """
    import torch

    from agentloop.training.ray_shards import worker_parts
    from agentloop.training.torch_families import own_loop

    request = config["request"]
    around = RayWorkers(Path(config["folder"]), request.parameters["epochs"])
    torch.set_num_threads(around.threads)
    try:
        # A user's own loop divides the rows as it likes.
        world = 1 if own_loop(request) is not None else around.world
        train, tune, around.rows = worker_parts(config["parts"], around.rank, world)
        fitted = family_of(request.family).fit(request, train, tune, around)
    except (TrainingError, DiskFull) as error:
        return error
    return Packed.of(fitted) if around.rank == 0 else None


class RayWorkers:
    """One of several DDP workers. The first writes checkpoints straight into Ray Train's folder
    (below ``folder``), whole or not at all, and tells Ray Train of them."""

    def __init__(self, folder: Path, epochs: int) -> None:
        import ray.train

        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world: int = context.get_world_size()
        # Workers of one node share its processors.
        self.threads = max(1, usable_cpus() // context.get_local_world_size())
        self.rows: int | None = None
        self._folder = folder
        self._every = max(1, epochs // CHECKPOINTS_PER_FIT)
        self._saved_at = time.monotonic()

    def wrap(self, model: Any) -> Any:
        from agentloop.training.torch_gradients import MeanGradients, can_average

        if self.world > 1 and can_average(model):
            return MeanGradients(model)
        import ray.train.torch

        return ray.train.torch.prepare_model(model)

    def mean(self, value: float) -> float:
        import torch
        import torch.distributed as dist

        if not dist.is_initialized():
            return value
        total = torch.tensor(value, dtype=torch.float64)
        if dist.get_backend() == "nccl":
            total = total.to(torch.device("cuda", torch.cuda.current_device()))
        dist.all_reduce(total)
        return float(total) / self.world

    def save(self, state: State, metrics: dict[str, float], epoch: int, last: bool) -> None:
        import ray.train
        from ray.train import Checkpoint, CheckpointUploadMode

        if self.rank == 0:
            tell_epoch(self._folder, metrics, epoch)
        if not (last or self._is_time(epoch)):
            return
        kept, error = self._write(state, epoch) if self.rank == 0 else (None, None)
        # Were only the first to give up, the others would wait for it for ever.
        if self.mean(float(error is not None)) > 0:
            raise error or TrainingError("the first worker could not write its checkpoint")
        self._saved_at = time.monotonic()
        ray.train.report(
            metrics,
            checkpoint=Checkpoint.from_directory(kept) if kept else None,
            checkpoint_upload_mode=CheckpointUploadMode.NO_UPLOAD,
        )

    def restore(self) -> State | None:
        from agentloop.training.torch_checkpoint import find_checkpoint

        # Ray Train's own record of its checkpoints may be torn; the folder is looked at instead.
        state = find_checkpoint(self._folder).state
        epoch = float(len(state["history"])) if state and "history" in state else 0.0
        # The same sum in every worker, so that all of them give up or none: a variance.
        if self.mean(epoch * epoch) != self.mean(epoch) ** 2:
            raise TrainingError(f"workers see different checkpoints in {self._folder}")
        return state

    def _is_time(self, epoch: int) -> bool:
        waited = self.rank == 0 and time.monotonic() - self._saved_at >= SECONDS_BETWEEN
        return epoch % self._every == 0 or self.mean(float(waited)) > 0

    def _write(self, state: State, epoch: int) -> tuple[str | None, AgentLoopError | None]:
        from agentloop.training.torch_checkpoint import keep_checkpoint

        try:
            return str(keep_checkpoint(self._folder, state, epoch)), None
        except DiskFull as error:
            return None, error
        except OSError as error:
            return None, TrainingError(f"a checkpoint cannot be written: {error}")
