"""Fit in the calling process, or with Ray Train in DDP workers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from agentloop.contracts.errors import AgentLoopError, TrainingError
from agentloop.training.families import family_of, is_network
from agentloop.training.fits import Alone, FitRequest, Fitted, Part, Surroundings
from agentloop.training.ray_session import CPUS_PER_WORKER, require_ray

RUN = "ray_train"
# Ray Train rewrites this in place: a kill can leave half of it, and then no run would start again.
SNAPSHOT = "checkpoint_manager_snapshot.json"
Say = Callable[[str], None]


def train_with_ray(
    request: FitRequest,
    train: Part,
    tune: Part | None,
    workers: int,
    folder: Path,
    max_failures: int = 1,
    on_progress: Say | None = None,
) -> Fitted:
    """Fit on ``workers`` processes (0: this one); checkpoints are kept under ``folder``.

    A second call with the same folder goes on from the last checkpoint that can be read. A worker
    that dies is replaced ``max_failures`` times. Raises TrainingError, TrainingDiverged, DiskFull,
    or ClusterError if workers are asked for and Ray has not been started.
    """
    say = on_progress or _nothing
    if workers == 0 or not is_network(request.family):
        around = _local(request, folder, say)
        return family_of(request.family).fit(request, train, tune, around)
    require_ray()
    workers = min(workers, len(train.targets))  # each has a row at least
    return _in_workers(request, (train, tune), workers, folder / RUN, max_failures, say)


def _local(request: FitRequest, folder: Path, say: Say) -> Surroundings:
    """Ray Train's local mode calls the loop in this process and does no more; to import it for
    that takes 3 s. Trees keep nothing on the way: they need no torch to read it."""
    if not is_network(request.family):
        return Alone()
    from agentloop.training.torch_checkpoint import LocalSurroundings

    _tell(folder, say)
    return LocalSurroundings(folder, time.monotonic)


def _in_workers(
    request: FitRequest,
    parts: tuple[Part, Part | None],
    workers: int,
    folder: Path,
    max_failures: int,
    say: Say,
) -> Fitted:
    import ray

    _tune_ray_train()
    from ray.train import FailureConfig, RunConfig, ScalingConfig

    from agentloop.training.ray_lean_trainer import LeanTrainer
    from agentloop.training.ray_processes import TorchProcesses
    from agentloop.training.ray_shards import offered
    from agentloop.training.ray_workers import Packed, train_in_worker

    _tell(folder, say)
    (folder / SNAPSHOT).unlink(missing_ok=True)
    nodes = sum(node["Alive"] for node in ray.nodes())
    reference, arguments = offered(*parts, nodes)
    trainer = LeanTrainer(
        train_in_worker,
        train_loop_config={"request": request, "folder": str(folder), "parts": reference},
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=request.use_gpu,
            resources_per_worker={"CPU": CPUS_PER_WORKER},
        ),
        backend_config=TorchProcesses(),
        run_config=RunConfig(
            name=folder.name,
            storage_path=str(folder.parent.absolute()),
            failure_config=FailureConfig(max_failures=max_failures),
        ),
        **arguments,
    )
    try:
        outcome = trainer.fit().return_value
    except (ray.train.TrainingFailedError, ray.exceptions.RayActorError) as error:
        raise _typed(error, folder) from error
    if isinstance(outcome, AgentLoopError):
        raise outcome
    packed: Packed = outcome
    return packed.unpack()


def _tell(folder: Path, say: Say) -> None:
    """Where the fit goes on from, if it is not from the start."""
    from agentloop.training.torch_checkpoint import find_checkpoint

    found = find_checkpoint(folder)
    if found.damaged:
        where = "training goes on from the one before" if found.state else "training starts anew"
        say(f"{', '.join(found.damaged)} cannot be read: {where}")


def _tune_ray_train() -> None:
    """Ray Train reads these from the environment alone; what the user set stays."""
    import ray

    # The default of 2 s is spent after the loop has ended, twice.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
    if len(ray.nodes()) == 1:
        # Nobody preempts the only node, and the watcher is one more process to start.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")


def _typed(error: BaseException, folder: Path) -> AgentLoopError:
    """DiskFull where that is what Ray Train died of, else what it last said."""
    text = str(error)
    if "No space left on device" in text:
        from agentloop.training.torch_checkpoint import disk_full

        return disk_full(folder)
    lines = [line for line in text.splitlines() if line.strip()]
    reason = lines[-1].strip() if lines else "no reason was given"
    return TrainingError(f"{type(error).__name__}: {reason}")


def _nothing(text: str) -> None:
    pass
