"""Ingest one batch outside of a run: for a schedule, a backfill, or a look at the data."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agentloop.contracts import DataBatch, LoopSpec, SpecError, SpecIssue
from agentloop.data import DataIngestionPipeline, check_header
from agentloop.loop.events import EventLog
from agentloop.loop.home import StateFolder
from agentloop.loop.ray_cluster import RayCluster


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """What to ingest. ``batch_id`` names the batch (the time of the call without one); ``since``
    takes the place of the source's own."""

    spec: LoopSpec
    spec_path: Path
    base_dir: Path
    home: StateFolder
    environment: Mapping[str, str]
    batch_id: str = ""
    since: str | None = None


def ingest(request: IngestRequest, on_progress: Callable[[str], None]) -> DataBatch:
    """One batch to a version. Any number of ingests may run at once: they take turns where they
    must.

    Raises SpecError for a ``since`` without a time column, a DataError, ClusterError, DiskFull.
    """
    data = request.spec.data
    if request.since is not None:
        if data.source.time_column is None:
            missing = SpecIssue(0, "data.source.time_column", "is missing: since needs it", "key")
            raise SpecError(str(request.spec_path), (missing,))
        source = data.source.model_copy(update={"since": request.since})
        data = data.model_copy(update={"source": source})
    check_header(data, request.base_dir)
    # A cluster of this machine alone would only cost its start: threads are as fast.
    cluster = RayCluster(request.home, request.environment)
    joins = bool(request.environment.get("RAY_ADDRESS"))
    batch_id = request.batch_id or datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    pipeline = DataIngestionPipeline(
        data,
        name=request.spec.name,
        base_dir=request.base_dir,
        home=request.home.root,
        ray_ready=(lambda: _ready(cluster, on_progress)) if joins else None,
        on_progress=on_progress,
    )
    batch = asyncio.run(pipeline.ingest_batch(batch_id))
    EventLog(request.home.events).append(
        "ingested",
        request.spec.name,
        datetime.now(UTC),
        data_version=batch.version.version,
        rows=batch.version.rows,
        batch=batch_id,
    )
    return batch


def _ready(cluster: RayCluster, on_progress: Callable[[str], None]) -> None:
    record = cluster.ready()
    started = "started" if cluster.started_here else "joined"
    on_progress(f"cluster {started}: {record.address}")
