"""Ingest with this project's pipeline, on a Ray cluster that is up before the clock starts."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from rules import source_config
from worker import Job, serve

from agentloop.contracts import DataSourceConfig
from agentloop.data.pipeline import DataIngestionPipeline
from agentloop.loop.cluster import CLUSTER_ENVIRONMENT, LOCAL_ENVIRONMENT

# Workers that Ray starts ahead of time go on importing for a while; idle is after that.
SETTLE_S = 4.0


class TimedPipeline(DataIngestionPipeline):
    """Keeps what the pass says of its own CPU seconds."""

    timings: dict[str, float] | None = None

    async def transform(self, raw: Any, staging: Path) -> Any:
        batch = await super().transform(raw, staging)
        found = getattr(batch, "timings", None)
        self.timings = asdict(found) if is_dataclass(found) else None
        return batch


def start_cluster(job: Job) -> None:
    os.environ.update({**CLUSTER_ENVIRONMENT, **LOCAL_ENVIRONMENT, "RAY_AUTH_MODE": "disabled"})
    os.environ.pop("RAY_ADDRESS", None)
    import ray

    # Ray's sockets lie in it, whose paths may not be long.
    temporary = tempfile.mkdtemp(prefix="al-ray-")
    (job.work / "ray-folder").write_text(temporary, encoding="utf-8")
    ray.init(
        address="local",
        num_cpus=os.cpu_count(),
        include_dashboard=False,
        logging_level="warning",
        log_to_driver=False,
        _temp_dir=temporary,
    )
    # As the others have, before the clock starts: what this process would import on its way.
    import duckdb
    import dvc.repo
    import ray.data
    import sqlglot

    assert all((dvc.repo, duckdb, ray.data, sqlglot))
    time.sleep(SETTLE_S)


def run(job: Job) -> dict[str, Any]:
    config = DataSourceConfig.model_validate(source_config(job.source.name))
    with job.stage("ingest"):
        pipeline = TimedPipeline(
            config, name="rows", base_dir=job.source.parent, home=job.work / "home"
        )
        batch = asyncio.run(pipeline.ingest_batch("benchmark"))
    return {
        "rows": batch.version.rows,
        "version": batch.version.version,
        "profile": {column.name: asdict(column) for column in batch.profile.columns},
        "timings": pipeline.timings,
    }


if __name__ == "__main__":
    raise SystemExit(serve(run, start_cluster))
