"""A batch with Ray: a Ray Data job reads and checks it, Ray tasks seal its row groups."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from agentloop.contracts.data import DataSchema
from agentloop.contracts.errors import AgentLoopError, SourceUnreadable
from agentloop.data.arrow_block import Block, pack, unpack
from agentloop.data.arrow_extract import Extract
from agentloop.data.arrow_seal import Sealer
from agentloop.data.arrow_work import ChunkWork

# A laptop's cluster also runs replicas: a whole core might never come free.
TASK_CPUS = 0.5
CUTTER_CPUS = 0.25  # other than a scan's, so that Ray Data does not fuse the two into one task
# Ray Data fills what it may with blocks that wait; this much keeps every core busy.
STORE_BYTES = 512 << 20
MOST_PARSERS = 3  # that one process can cut for
# Blocks that may wait between a task and us: with Ray Data's two, tasks stand still while a group
# is sealed.
BLOCKS_AHEAD = 6
PLACE, PART_SHIFT = "_place", 32


def open_sealer(schema: DataSchema) -> Sealer:
    """Seals with half of the cluster's processors; the scan has the other half."""
    from agentloop.data.ray_parts import RaySealer

    return RaySealer(schema, TASK_CPUS, at_once=_half_the_cpus() + 1)


def run_with_ray(extract: Extract, work: ChunkWork) -> Iterator[Any]:
    """What ``work`` makes of every chunk of the parts. Raises as ``run_job`` says."""
    import ray

    _configure()
    try:
        tables = _dataset(extract, _Packed(work)).iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=BLOCKS_AHEAD
        )
        for table in tables:
            yield from _unpacked(table)
    except ray.exceptions.RayError as error:
        raise _typed(error, extract.source) from error


@dataclass(frozen=True, slots=True)
class _Packed:
    """A chunk, which names its place, to a table of one row that holds what was made of it."""

    work: ChunkWork

    def __call__(self, chunk: pa.Table) -> pa.Table:
        code = chunk.column(PLACE)[0].as_py()
        place = (code >> PART_SHIFT, code & ((1 << PART_SHIFT) - 1))
        made = self.work(chunk.drop_columns(PLACE), place)
        if isinstance(made, Block):
            return pack(made)
        return pa.table({"value": pa.array([pickle.dumps(made, protocol=5)], pa.large_binary())})


def _unpacked(table: pa.Table) -> Iterator[Any]:
    if "value" not in table.column_names:
        yield from unpack(table)
        return
    for value in table.column("value"):
        yield pickle.loads(value.as_buffer())


def placed(chunk: pa.Table, part: int, position: int) -> pa.Table:
    """The chunk with its place, as ``_Packed`` reads it."""
    code = np.full(chunk.num_rows, part << PART_SHIFT | position, np.int64)
    return chunk.append_column(PLACE, pa.array(code))


def _dataset(extract: Extract, work: _Packed) -> Any:
    import ray.data

    from agentloop.data.ray_parts import PartsDatasource

    at_once = _half_the_cpus()
    # Whole parts in one task where there are enough of them: nothing is copied in between. On few
    # processors cutting keeps ahead of parsing, and blocks come in order without any waiting.
    if extract.parser is None or (at_once > MOST_PARSERS and len(extract.parts) > 2 * at_once):
        return ray.data.read_datasource(
            PartsDatasource(extract.parts, work),
            override_num_blocks=len(extract.parts),
            num_cpus=TASK_CPUS,
            # Blocks are wanted in order: those of later parts would wait for the first ones.
            concurrency=at_once,
        )
    source = ray.data.read_datasource(
        PartsDatasource(extract.parts, None),
        override_num_blocks=len(extract.parts),
        num_cpus=CUTTER_CPUS,
        concurrency=1,
    )
    return source.map_batches(
        work,
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        num_cpus=TASK_CPUS,
        concurrency=max(2, at_once),
    )


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


def _half_the_cpus() -> int:
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1.0)) // 2)


def _configure() -> None:
    from ray.data import DataContext, ExecutionResources

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    logging.getLogger("ray.data").propagate = False
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = 1 << 20  # a chunk is one row, and a block of its own
    context._max_num_blocks_in_streaming_gen_buffer = BLOCKS_AHEAD
    options = context.execution_options
    options.preserve_order = True
    options.resource_limits = ExecutionResources(
        cpu=_half_the_cpus() + CUTTER_CPUS, object_store_memory=STORE_BYTES
    )
