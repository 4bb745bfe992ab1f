"""A fit on a GPU, where there is one, beside the same loop plainly written; else both on the CPU.

Rounds alternate between the two. Seconds of an epoch are medians over its epochs but the first;
utilisation is what the driver reports while the epochs run.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

MOST_RATIO = 1.15
ROUNDS, QUICK_ROUNDS = 3, 1
POLL_SECONDS = 0.1
# (name, width, hidden layers, rows, batch, epochs): small steps, where Python is the cost, and
# large ones, where the GPU is.
JOBS = (
    ("small steps", 64, (512, 512), 400_000, 4096, 6),
    ("large steps", 256, (4096, 4096), 400_000, 16_384, 6),
)
CPU_JOBS = (("small steps", 64, (512, 512), 40_000, 2048, 4),)


def run(quick: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    import torch

    on_gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if on_gpu else "CPU"
    rows, targets = [], []
    for name, *shape in JOBS if on_gpu else CPU_JOBS:
        request, train, tune = job(*shape, on_gpu)
        for precision in ("float32", "bfloat16") if on_gpu else ("float32",):
            asked = replace(request, precision=precision)
            found = measure(asked, train, tune, QUICK_ROUNDS if quick else ROUNDS)
            what = f"{device}, {name}, {precision}"
            rows += [{"measured": f"{what}: {who}", **figures} for who, figures in found.items()]
            ratio = found["ours"]["epoch_s"] / found["plain torch"]["epoch_s"]
            targets.append(
                {
                    "name": f"{what}: an epoch, times plain torch's",
                    "value": round(ratio, 3),
                    "target": MOST_RATIO,
                    "holds": ratio <= MOST_RATIO,
                    "unit": "",
                    "direction": "at most",
                }
            )
    return rows, targets


def job(
    width: int, hidden: tuple[int, ...], rows: int, batch: int, epochs: int, on_gpu: bool
) -> tuple[Any, Any, Any]:
    from agentloop.contracts.spec_families import ParametersSpec, parameters_of
    from agentloop.training.fits import FitRequest, Layout, Part, Target

    def part(count: int, seed: int) -> Any:
        x = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
        return Part(x, (x[:, 0] * x[:, 1] > 0).astype(np.int64))

    given = ParametersSpec(
        epochs=epochs,
        batch_size=batch,
        hidden=hidden,
        dropout=0.0,
        learning_rate=1e-3,
        weight_decay=1e-4,
    )
    layout = Layout((0.0,) * width, (1.0,) * width)
    parameters = parameters_of("mlp", given)
    target = Target("binary", ("no", "yes"))
    request = FitRequest("mlp", layout, target, parameters, 7, ".", use_gpu=on_gpu)
    return request, part(rows, 0), part(rows // 10, 1)


def measure(request: Any, train: Any, tune: Any, rounds: int) -> dict[str, dict[str, float]]:
    times: dict[str, list[float]] = {"plain torch": [], "ours": []}
    busy: dict[str, list[float]] = {"plain torch": [], "ours": []}
    for number in range(rounds):
        print(f"gpu: round {number + 1}, {request.precision}", file=sys.stderr)
        for who, fit in (("plain torch", plain_epochs), ("ours", our_epochs)):
            with Utilisation(request.use_gpu) as used:
                times[who].append(statistics.median(fit(request, train, tune)[1:]))
            busy[who] += used.percents
    found = {}
    for who, epochs in times.items():
        seconds = statistics.median(epochs)
        found[who] = {
            "epoch_s": round(seconds, 5),
            "rows_per_s": round(len(train.targets) / seconds),
            "median_gpu_percent": statistics.median(busy[who]) if busy[who] else float("nan"),
        }
    if not request.use_gpu:
        for figures in found.values():
            del figures["median_gpu_percent"]
    return found


def our_epochs(request: Any, train: Any, tune: Any) -> list[float]:
    from agentloop.training.ray_trainer import train_with_ray

    with tempfile.TemporaryDirectory(prefix="al-gpu-") as folder:
        fitted = train_with_ray(request, train, tune, 0, Path(folder))
    return [epoch.seconds for epoch in fitted.history]


def plain_epochs(request: Any, train: Any, tune: Any) -> list[float]:
    """The loop that anybody would write, with the data on the device."""
    import torch
    from torch import nn

    device = "cuda" if request.use_gpu else "cpu"
    parameters = request.parameters
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(request.seed)
    layers: list[Any] = []
    width = train.features.shape[1]
    for hidden in parameters["hidden"]:
        layers += [nn.Linear(width, hidden), nn.ReLU()]
        width = hidden
    model = nn.Sequential(*layers, nn.Linear(width, 2)).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=parameters["learning_rate"], weight_decay=1e-4, fused=True
    )
    loss_of = nn.CrossEntropyLoss()
    x, y = torch.from_numpy(train.features).to(device), torch.from_numpy(train.targets).to(device)
    val_x, val_y = torch.from_numpy(tune.features).to(device), torch.from_numpy(tune.targets)
    val_y = val_y.to(device)
    half = request.precision == "bfloat16"
    times = []
    for _ in range(parameters["epochs"]):
        began = time.monotonic()
        model.train()
        for rows in torch.split(torch.randperm(len(x), device=device), parameters["batch_size"]):
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=half):
                loss = loss_of(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=half):
            float(loss_of(model(val_x), val_y))  # waits for the device
        times.append(time.monotonic() - began)
    torch.set_num_threads(threads)
    return times


class Utilisation:
    """Percent of the time that the GPU was busy, as ``nvidia-smi`` has it; nothing without one."""

    def __init__(self, wanted: bool) -> None:
        self.percents: list[float] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True) if wanted else None

    def __enter__(self) -> Utilisation:
        if self._thread:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread:
            self._thread.join()

    def _watch(self) -> None:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._done.wait(POLL_SECONDS):
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
            if answer.returncode == 0 and answer.stdout.strip().isdigit():
                self.percents.append(float(answer.stdout))
