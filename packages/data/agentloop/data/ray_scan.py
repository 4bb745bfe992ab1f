"""The one pass over a batch's blocks, as a Ray Data job."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from agentloop.contracts.errors import SourceUnreadable
from agentloop.contracts.spec import DataSourceConfig
from agentloop.data.arrow_block import Block, block_to_row
from agentloop.data.arrow_source import Extract
from agentloop.data.batch import ScanPlan
from agentloop.data.csv_header import sniff_header

BLOCK_ROWS = 25_000
# A laptop's cluster also runs replicas: a whole core might never come free.
TASK_CPUS = 0.5


def scan_blocks(
    extract: Extract,
    plan: ScanPlan,
    config: DataSourceConfig,
    ray_ready: Callable[[], None] | None = None,
    block_rows: int = BLOCK_ROWS,
) -> Iterator[Block]:
    """Every block's outcome, in the source's order. Raises SourceUnreadable."""
    import ray
    import ray.data

    if ray_ready is not None:
        ray_ready()
    elif not ray.is_initialized():
        ray.init(include_dashboard=False, logging_level=logging.WARNING)
    _be_quiet()
    dataset = _dataset(extract, config, block_rows).map_batches(
        block_to_row,
        fn_kwargs={"plan": plan},
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        num_cpus=TASK_CPUS,
    )
    try:
        for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            for outcome in table.column("block"):
                yield pickle.loads(outcome.as_buffer())
    except (ray.exceptions.RayTaskError, ray.exceptions.UserCodeException) as error:
        cause = str(error.cause if isinstance(error, ray.exceptions.RayTaskError) else error)
        raise SourceUnreadable(extract.source, cause.strip().splitlines()[-1]) from error


def _dataset(extract: Extract, config: DataSourceConfig, block_rows: int) -> Any:
    import ray.data

    if not extract.files:
        head = extract.head
        starts = range(0, head.num_rows, block_rows)
        return ray.data.from_arrow([head.slice(start, block_rows) for start in starts])
    paths = [str(path) for path in extract.files]
    if extract.kind == "parquet":
        return ray.data.read_parquet(paths)
    if extract.kind == "jsonl":
        return ray.data.read_json(paths, lines=True)
    with extract.files[0].open("rb") as file:
        separator, _ = sniff_header(file.read(1 << 16), extract.source)
    return ray.data.read_csv(
        paths,
        file_extensions=None,
        parse_options=pa.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        # As text: types are inferred a file's first block at a time, and cast by our own rules.
        convert_options=pa.csv.ConvertOptions(
            column_types={name: pa.string() for name in extract.head.column_names},
            null_values=list(config.missing),
            strings_can_be_null=True,
        ),
    )


def _be_quiet() -> None:
    from ray.data import DataContext

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    logging.getLogger("ray.data").propagate = False
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.print_on_execution_start = False
