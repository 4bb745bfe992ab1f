"""The job that is timed, and the loop that anybody would write for it."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, HIDDEN, BATCH, RATE, DECAY, SEED = 64, (512, 512), 4096, 1e-3, 1e-4, 7


def job(rows: int, epochs: int) -> tuple[Any, Any, Any]:
    """Rows to train on, a fifth as many to validate on, and what is asked for."""
    from agentloop.contracts.spec_families import ParametersSpec, parameters_of
    from agentloop.training.fits import FitRequest, Layout, Part, Target

    def part(count: int, seed: int) -> Any:
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(count, WIDTH)).astype(np.float32)
        return Part(x, (x[:, 0] * x[:, 1] > 0).astype(np.int64))

    given = ParametersSpec(
        epochs=epochs,
        batch_size=BATCH,
        hidden=HIDDEN,
        dropout=0.0,
        learning_rate=RATE,
        weight_decay=DECAY,
    )
    layout = Layout((0.0,) * WIDTH, (1.0,) * WIDTH)
    target = Target("binary", ("no", "yes"))
    request = FitRequest("mlp", layout, target, parameters_of("mlp", given), SEED, ".")
    return part(rows, 0), part(rows // 5, 1), request


def small_job() -> tuple[Any, Any, Any]:
    """As little as can be fitted. In the order that ``train_with_ray`` takes it."""
    train, tune, request = job(64, 1)
    return request, train, tune


def plain_epochs(train: Any, tune: Any, request: Any) -> list[float]:
    """Seconds of each epoch of a plain loop of the same work, on one thread as ours."""
    import torch
    from torch import nn

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    model = nn.Sequential(
        nn.Linear(WIDTH, HIDDEN[0]),
        nn.ReLU(),
        nn.Linear(HIDDEN[0], HIDDEN[1]),
        nn.ReLU(),
        nn.Linear(HIDDEN[1], 2),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    loss_of = nn.CrossEntropyLoss()
    x, y = torch.from_numpy(train.features), torch.from_numpy(train.targets)
    val_x, val_y = torch.from_numpy(tune.features), torch.from_numpy(tune.targets)
    times = []
    for _ in range(request.parameters["epochs"]):
        began = time.monotonic()
        model.train()
        for rows in torch.split(torch.randperm(len(x)), BATCH):
            optimizer.zero_grad()
            loss = loss_of(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            float(loss_of(model(val_x), val_y))
        times.append(time.monotonic() - began)
    torch.set_num_threads(threads)
    return times


def plain_ray_train(workers: int, folder: Path) -> None:
    """Ray Train as its own pages start it, with a loop that does nothing. Its health checks are as
    frequent as ours: the default waits for seconds after the loop."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    TorchTrainer(
        idle_loop,
        train_loop_config={},
        scaling_config=ScalingConfig(num_workers=workers, resources_per_worker={"CPU": 0.5}),
        run_config=RunConfig(name=folder.name, storage_path=str(folder.parent)),
    ).fit()


def idle_loop(config: dict[str, Any]) -> None:
    """What the workers of ``plain_ray_train`` do."""


def main() -> int:
    """Fit next to nothing in a process of its own: its time is what a fit costs at least."""
    request, train, tune = small_job()
    if sys.argv[1] == "plain":
        plain_epochs(train, tune, request)
        return 0
    from agentloop.training.ray_trainer import train_with_ray

    with tempfile.TemporaryDirectory() as folder:
        train_with_ray(request, train, tune, 0, Path(folder))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
