"""Where a batch is scanned: in this process where it is small, else with Ray Data."""

from __future__ import annotations

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


def is_small(extract: Extract) -> bool:
    """Whether the calling process scans it. A source of unknown size is not small."""
    return not extract.parts or (extract.size is not None and extract.size <= LOCAL_BYTES)


def scan_blocks(extract: Extract, plan: ScanPlan, block_rows: int = BLOCK_ROWS) -> Iterator[Block]:
    """Every block's outcome, in the source's order. Raises what ``run_job`` raises."""
    yield from run_job(extract, plan.kinds, Inspection(plan), block_rows)


def run_job(
    extract: Extract, kinds: Mapping[str, ColumnKind], work: Work, block_rows: int = BLOCK_ROWS
) -> Iterator[Any]:
    """What ``work`` makes of every block, in parallel, in the source's order.

    Ray must be ready unless the source is small. Raises the typed error that a part, its parser or
    ``work`` raised, else SourceUnreadable.
    """
    chunk_work = ChunkWork(extract.parser, kinds, work)
    if is_small(extract):
        return run_here(extract, chunk_work, block_rows)
    from agentloop.data.ray_scan import run_with_ray

    return run_with_ray(extract, chunk_work)


@contextmanager
def sealing(extract: Extract, schema: DataSchema) -> Iterator[Sealer]:
    """Seals where the source is scanned."""
    if not is_small(extract):
        from agentloop.data.ray_scan import open_sealer

        yield open_sealer(schema)
        return
    sealer = ThreadSealer(schema)
    try:
        yield sealer
    finally:
        sealer.close()
