"""One data set from its files to a registered version, in a process of its own.

    python task_run.py TASK SHARED HOME [SECONDS]        one JSON line on stdout

``TASK`` is a loop.yaml of ``tasks``, ``SHARED`` the folder of the public data sets, ``SECONDS``
what its search may take in place of what it says.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from agentloop.contracts.spec_file import load_spec
from agentloop.data.pipeline import DataIngestionPipeline
from agentloop.loop.cluster import CLUSTER_ENVIRONMENT, LOCAL_ENVIRONMENT
from agentloop.training import ModelTrainingPipeline, TrainingConfig, prepare_tracking

MNIST = (("train", 1), ("t10k", 2))


def main() -> int:
    task, shared, home = (Path(argument).resolve() for argument in sys.argv[1:4])
    os.environ.update({**CLUSTER_ENVIRONMENT, **LOCAL_ENVIRONMENT, "RAY_AUTH_MODE": "disabled"})
    os.environ["AGENTLOOP_SHARED"] = str(shared)
    os.environ.pop("RAY_ADDRESS", None)
    home.mkdir(parents=True, exist_ok=True)
    # In the main thread: Ray's processes die with the thread that started them.
    start_ray()
    result = asyncio.run(run(task, shared, home))
    print(json.dumps(result))
    return 0


async def run(task: Path, shared: Path, home: Path) -> dict[str, Any]:
    spec = load_spec(task)
    if len(sys.argv) > 4:
        search = spec.model.search.model_copy(update={"seconds": float(sys.argv[4])})
        spec = spec.model_copy(update={"model": spec.model.model_copy(update={"search": search})})
    base = base_dir(task, shared, home)
    began = time.monotonic()
    pipeline = DataIngestionPipeline(spec.data, name=spec.name, base_dir=base, home=home)
    dataset = (await pipeline.ingest_batch("benchmark")).version
    ingested = time.monotonic()
    config = TrainingConfig(
        model=spec.name,
        spec=spec.model,
        dataset=dataset,
        split=spec.data.split,
        idempotency_key="benchmark",
        tracking_uri=f"sqlite:///{home}/mlflow.db",
        home=home,
        base_dir=base,
    )
    prepare_tracking(config.tracking_uri)
    training = ModelTrainingPipeline(config, on_progress=say)
    result = await training.train_model(spec.name)
    return {
        "task": task.stem,
        "metrics": dict(result.metrics),
        "version": result.model_version.version,
        "artifact": result.model_version.artifact_uri,
        "ingest_s": round(ingested - began, 1),
        "train_s": round(time.monotonic() - ingested, 1),
        "dataset": dataset.uri,
    }


def base_dir(task: Path, shared: Path, home: Path) -> Path:
    """Where the source's paths start."""
    if task.stem == "employment_ma":
        return task.parent  # a callable, beside its loop.yaml
    folder = shared / "data" / task.stem
    if task.stem != "mnist":
        return folder
    copies = home / "mnist"
    copies.mkdir(exist_ok=True)
    for name, place in MNIST:
        for file in folder.glob(f"{name}-*"):
            shutil.copyfile(file, copies / f"{place}-{file.name}")
    return copies


def start_ray() -> None:
    import ray

    ray.init(
        address="local",
        num_cpus=os.cpu_count(),
        include_dashboard=False,
        logging_level="warning",
        log_to_driver=False,
        # Ray's sockets lie in it, whose paths may not be long.
        _temp_dir=tempfile.mkdtemp(prefix="al-ray-"),
    )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
