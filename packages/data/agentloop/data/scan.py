"""Where a batch is scanned: by threads of this process, or with Ray Data where a cluster helps."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from agentloop.contracts.data import ColumnKind, DataSchema
from agentloop.data.arrow_block import Block
from agentloop.data.arrow_extract import Extract
from agentloop.data.arrow_seal import Sealer
from agentloop.data.arrow_threads import ThreadSealer, run_here
from agentloop.data.arrow_work import BLOCK_ROWS, ChunkWork, Inspection, Work
from agentloop.data.batch import ScanPlan

# Measured on two cores: below, a job of Ray Data takes longer to begin than threads take to end.
LOCAL_BYTES = 256 << 20
HERE_CPUS = max(2, os.cpu_count() or 2)  # a cluster of this machine alone counts at least two


def is_small(extract: Extract) -> bool:
    """Whether no cluster is worth asking. A source of unknown size is not small."""
    return not extract.parts or (extract.size is not None and extract.size <= LOCAL_BYTES)


def runs_here(extract: Extract) -> bool:
    """Whether threads of the calling process scan it: they do unless the source is large and Ray
    has processors that this machine lacks.

    On the same processors threads took 0.7 of Ray Data's time and a third of its memory (30 million
    rows, two cores): no worker has to start, import, or be handed its blocks in order.
    """
    return is_small(extract) or cluster_cpus() <= HERE_CPUS


def cluster_cpus() -> float:
    """Processors of the cluster that this process is connected to, 0 if there is none."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return 0.0
    return float(ray.cluster_resources().get("CPU", 0.0))


def scan_blocks(extract: Extract, plan: ScanPlan, block_rows: int = BLOCK_ROWS) -> Iterator[Block]:
    """Every block's outcome, in the source's order. Raises what ``run_job`` raises."""
    yield from run_job(extract, plan.kinds, Inspection(plan), block_rows)


def run_job(
    extract: Extract, kinds: Mapping[str, ColumnKind], work: Work, block_rows: int = BLOCK_ROWS
) -> Iterator[Any]:
    """What ``work`` makes of every block, in parallel, in the source's order.

    Raises the typed error that a part, its parser or ``work`` raised, else SourceUnreadable.
    """
    chunk_work = ChunkWork(extract.parser, kinds, work)
    if runs_here(extract):
        return run_here(extract, chunk_work, block_rows)
    from agentloop.data.ray_scan import run_with_ray

    return run_with_ray(extract, chunk_work)


@contextmanager
def sealing(extract: Extract, schema: DataSchema) -> Iterator[Sealer]:
    """Seals where the source is scanned."""
    if not runs_here(extract):
        from agentloop.data.ray_scan import open_sealer

        yield open_sealer(schema)
        return
    sealer = ThreadSealer(schema)
    try:
        yield sealer
    finally:
        sealer.close()
