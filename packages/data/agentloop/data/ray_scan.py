"""The one pass over a batch: a Ray Data job that reads and checks, Ray tasks that seal."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from agentloop.contracts.data import ColumnKind, DataSchema
from agentloop.contracts.errors import AgentLoopError, SourceUnreadable
from agentloop.data.arrow_block import Block, Place, inspect_block, pack, unpack
from agentloop.data.arrow_extract import ChunkParser, Extract, RawRows, TornRow
from agentloop.data.arrow_seal import Sealer
from agentloop.data.batch import ScanPlan

BLOCK_ROWS = 25_000
# A laptop's cluster also runs replicas: a whole core might never come free.
TASK_CPUS = 0.5
CUTTER_CPUS = 0.25  # other than a scan's, so that Ray Data does not fuse the two into one task
# Ray Data fills what it may with blocks that wait; this much keeps every core busy.
STORE_BYTES = 512 << 20
PLACE, PART_SHIFT = "_place", 32
_REST = b"agentloop.rest"

Work = Callable[[RawRows, Place], pa.Table]


def start_ray(ray_ready: Callable[[], None] | None) -> None:
    """Wait until Ray is ready, or start a local one if none is connected."""
    import ray

    if ray_ready is not None:
        ray_ready()
    elif not ray.is_initialized():
        ray.init(include_dashboard=False, logging_level=logging.WARNING)


def open_sealer(schema: DataSchema) -> Sealer:
    """Seals with half of the cluster's processors; the scan has the other half."""
    from agentloop.data.ray_parts import RaySealer

    return RaySealer(schema, TASK_CPUS, at_once=max(1, int(_half_the_cpus() / TASK_CPUS)))


def scan_blocks(extract: Extract, plan: ScanPlan, block_rows: int = BLOCK_ROWS) -> Iterator[Block]:
    """Every block's outcome, in the source's order. Raises what ``run_job`` raises."""
    for packed in run_job(extract, plan.kinds, _Inspection(plan), block_rows):
        yield from unpack(packed)


def run_job(
    extract: Extract, kinds: Mapping[str, ColumnKind], work: Work, block_rows: int = BLOCK_ROWS
) -> Iterator[pa.Table]:
    """What the picklable ``work`` makes of every block, in parallel, in the source's order.

    Ray must be ready (``start_ray``). Raises the typed error that a part, its parser or ``work``
    raised, else SourceUnreadable.
    """
    import ray

    _configure()
    dataset = _dataset(extract, _ChunkWork(extract.parser, kinds, work), block_rows)
    try:
        yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow")
    except ray.exceptions.RayError as error:
        raise _typed(error, extract.source) from error


def cut_head(extract: Extract, rows: int = BLOCK_ROWS) -> list[RawRows]:
    """The head in blocks of ``rows``, each with the torn rows that lie between its own."""
    torn = sorted(extract.torn, key=lambda row: row.number or 0)
    numbers = [row.number or 0 for row in torn]
    whole = np.arange(1, extract.head.num_rows + len(torn) + 1)
    places = np.setdiff1d(whole, numbers, assume_unique=True)
    blocks, begin = [], 0
    for start in range(0, max(extract.head.num_rows, 1), rows):
        table = extract.head.slice(start, rows)
        last = start + rows >= extract.head.num_rows
        end = len(whole) if last else int(places[start + rows]) - 1
        here = tuple(
            TornRow(number - begin, row.text, row.reason)
            for number, row in zip(numbers, torn, strict=True)
            if begin < number <= end
        )
        blocks.append(RawRows(table, here))
        begin = end
    return blocks


@dataclass(frozen=True, slots=True)
class _Inspection:
    plan: ScanPlan

    def __call__(self, raw: RawRows, place: Place) -> pa.Table:
        return pack(inspect_block(raw, self.plan, place))


@dataclass(frozen=True, slots=True)
class _ChunkWork:
    """Parses a chunk where it needs that, and works on its rows."""

    parser: ChunkParser | None
    kinds: Mapping[str, ColumnKind]
    work: Work

    def __call__(self, chunk: pa.Table) -> pa.Table:
        if PLACE not in chunk.column_names:
            raw, place = _detached(chunk)
            return self.work(raw, place)
        code = chunk.column(PLACE)[0].as_py()
        place = (code >> PART_SHIFT, code & ((1 << PART_SHIFT) - 1))
        chunk = chunk.drop_columns(PLACE)
        raw = RawRows(chunk) if self.parser is None else self.parser(chunk, self.kinds)
        return self.work(raw, place)


def _dataset(extract: Extract, work: _ChunkWork, block_rows: int) -> Any:
    import ray.data

    from agentloop.data.ray_parts import PartsDatasource

    if not extract.parts:
        blocks = enumerate(cut_head(extract, block_rows))
        tables = [_attached(raw, (0, number)) for number, raw in blocks]
        source = ray.data.from_arrow(tables)
        work = _ChunkWork(None, work.kinds, work.work)
    elif extract.parser is None:
        return ray.data.read_datasource(
            PartsDatasource(extract.parts, work),
            override_num_blocks=len(extract.parts),
            num_cpus=TASK_CPUS,
        )
    else:
        source = ray.data.read_datasource(
            PartsDatasource(extract.parts, None),
            override_num_blocks=len(extract.parts),
            num_cpus=CUTTER_CPUS,
            # Blocks are wanted in order: a second file's would wait for the first one's.
            concurrency=1,
        )
    return source.map_batches(
        work, batch_size=None, batch_format="pyarrow", zero_copy_batch=True, num_cpus=TASK_CPUS
    )


def _attached(raw: RawRows, place: Place) -> pa.Table:
    """The rows with all else that is known of them in the schema's metadata."""
    return raw.table.replace_schema_metadata({_REST: pickle.dumps((raw.torn, place))})


def _detached(table: pa.Table) -> tuple[RawRows, Place]:
    torn, place = pickle.loads((table.schema.metadata or {})[_REST])
    return RawRows(table.replace_schema_metadata(None), torn), place


def _typed(error: BaseException, source: str) -> AgentLoopError:
    """The typed error inside Ray's; else the worker's own last words."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AgentLoopError):
            return cause
        inner = getattr(cause, "cause", None)
        cause = inner if isinstance(inner, BaseException) else cause.__cause__
    inner = getattr(error, "cause", None) or error
    return SourceUnreadable(source, str(inner).strip().splitlines()[-1])


def _half_the_cpus() -> float:
    import ray

    return max(TASK_CPUS, float(ray.cluster_resources().get("CPU", 1.0)) / 2)


def _configure() -> None:
    from ray.data import DataContext, ExecutionResources

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    logging.getLogger("ray.data").propagate = False
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = 1 << 20  # a chunk is one row, and a block of its own
    options = context.execution_options
    options.preserve_order = True
    options.resource_limits = ExecutionResources(
        cpu=_half_the_cpus() + CUTTER_CPUS, object_store_memory=STORE_BYTES
    )
