"""What a fit costs beside the same torch loop plainly written, in this process and in workers.

Each round measures all of them in turn, so that a noisy machine is noisy for all. Seconds of an
epoch are medians over its epochs but the first; ratios are medians over rounds.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

ROUNDS, QUICK_ROUNDS = 5, 1
ROWS, QUICK_ROWS = 100_000, 50_000
EPOCHS = 6
WORKERS = (1, 2)
MOST_RATIO, MOST_LOCAL_S, MOST_CLUSTER_S, LEAST_SPEEDUP = 1.15, 1.0, 10.0, 1.5
Samples = dict[str, list[float]]


def run(quick: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and targets. Starts a cluster of two processors and stops it."""
    import ray

    samples: Samples = defaultdict(list)
    rows = QUICK_ROWS if quick else ROWS
    with tempfile.TemporaryDirectory(prefix="al-training-") as folder:
        start_ray(ray)
        try:
            samples["2 workers, the first fit of a cluster"].append(first_s(Path(folder)))
            for number in range(QUICK_ROUNDS if quick else ROUNDS):
                print(f"overhead: round {number + 1}", file=sys.stderr)
                one_round(Path(folder) / str(number), rows, samples)
        finally:
            ray.shutdown()
    return table(samples), targets(samples)


def start_ray(ray: Any) -> None:
    here = str(Path(__file__).resolve().parent)
    path = os.pathsep.join([here, *filter(None, sys.path)])
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )


def one_round(folder: Path, rows: int, samples: Samples) -> None:
    from overhead_job import job, plain_epochs

    from agentloop.training.ray_trainer import train_with_ray

    train, tune, request = job(rows, EPOCHS)
    samples["plain torch, s an epoch"].append(epoch_s(plain_epochs(train, tune, request)))
    for workers in (0, *WORKERS):
        fitted = train_with_ray(request, train, tune, workers, folder / f"w{workers}")
        times = [epoch.seconds for epoch in fitted.history]
        samples[f"{named(workers)}, s an epoch"].append(epoch_s(times))
    plain, ours = process_s("plain"), process_s("ours")
    samples["plain torch, a whole process"].append(plain)
    samples["in this process, a whole process"].append(ours)
    fixed_costs(folder, samples)
    samples["a killed worker, beside an undisturbed fit"].append(
        killed_s(folder, train, tune, request)
    )


def fixed_costs(folder: Path, samples: Samples) -> None:
    """Seconds of a fit in workers that has next to nothing to do, ours and plain Ray Train's."""
    from overhead_job import plain_ray_train, small_job

    from agentloop.training.ray_trainer import train_with_ray

    for workers in WORKERS:
        began = time.monotonic()
        train_with_ray(*small_job(), workers, folder / f"small{workers}")
        samples[f"{named(workers)}, fixed cost"].append(time.monotonic() - began)
        began = time.monotonic()
        plain_ray_train(workers, folder / f"plain{workers}")
        samples[f"{named(workers)}, plain Ray Train"].append(time.monotonic() - began)


def first_s(folder: Path) -> float:
    """Seconds of the first small fit: this process has imported nothing of Ray Train yet."""
    from overhead_job import small_job

    from agentloop.training.ray_trainer import train_with_ray

    began = time.monotonic()
    train_with_ray(*small_job(), 2, folder / "first")
    return time.monotonic() - began


def epoch_s(times: list[float]) -> float:
    return statistics.median(times[1:])


def named(workers: int) -> str:
    return {0: "in this process", 1: "1 worker"}.get(workers, f"{workers} workers")


def process_s(who: str) -> float:
    """Seconds of a process that imports what it needs and fits next to nothing."""
    began = time.monotonic()
    script = Path(__file__).with_name("overhead_job.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, str(script), who], check=True, env=environment)
    return time.monotonic() - began


def killed_s(folder: Path, train: Any, tune: Any, request: Any) -> float:
    """How much longer a fit by two workers takes when one is killed after the first checkpoint."""
    from agentloop.training.ray_trainer import train_with_ray

    def fit(name: str) -> float:
        began = time.monotonic()
        train_with_ray(request, train, tune, 2, folder / name)
        return time.monotonic() - began

    def kill() -> None:
        while not done.wait(0.02):
            pids = worker_pids()
            if pids and any((folder / "killed").rglob("checkpoint.pt")):
                os.kill(pids[-1], signal.SIGKILL)
                return

    whole = fit("whole")
    done = threading.Event()
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        return fit("killed") - whole
    finally:
        done.set()
        killer.join()


def worker_pids() -> list[int]:
    """Processes that our own Ray has named as training workers."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process.pid)
    return found


def table(samples: Samples) -> list[dict[str, Any]]:
    return [
        {
            "measured": name,
            "median_s": round(statistics.median(values), 4),
            "min_s": round(min(values), 4),
            "max_s": round(max(values), 4),
            "rounds": len(values),
        }
        for name, values in samples.items()
    ]


def targets(samples: Samples) -> list[dict[str, Any]]:
    def epoch(name: str) -> list[float]:
        return samples[f"{name}, s an epoch"]

    plain, one = epoch("plain torch"), epoch("1 worker")
    local = [
        ours - theirs
        for ours, theirs in zip(
            samples["in this process, a whole process"],
            samples["plain torch, a whole process"],
            strict=True,
        )
    ]
    found = [
        target(f"{name}: an epoch, times plain torch's", ratios(epoch(name), plain), MOST_RATIO)
        for name in ("in this process", "1 worker")
    ]
    found.append(
        target(
            "2 workers: times as fast as 1",
            ratios(one, epoch("2 workers")),
            LEAST_SPEEDUP,
            direction="at least",
        )
    )
    found.append(target("in this process: fixed cost", local, MOST_LOCAL_S, unit="s"))
    for workers in map(named, WORKERS):
        name = f"{workers}: fixed cost, cluster up"
        ours, theirs = samples[f"{workers}, fixed cost"], samples[f"{workers}, plain Ray Train"]
        found.append(target(name, ours, MOST_CLUSTER_S, unit="s"))
        name = f"{workers}: fixed cost, times plain Ray Train's"
        found.append(target(name, ratios(ours, theirs), 1.0))
    return found


def ratios(above: list[float], below: list[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def target(
    name: str, values: list[float], limit: float, unit: str = "", direction: str = "at most"
) -> dict[str, Any]:
    value = round(statistics.median(values), 2)
    holds = value >= limit if direction == "at least" else value <= limit
    return {
        "name": name,
        "value": value,
        "target": limit,
        "holds": holds,
        "unit": unit,
        "direction": direction,
    }
