"""What this project's own check costs block by block."""

from __future__ import annotations

import time
from typing import Any

import pyarrow as pa
from block_rows import read_blocks, seconds_per_million
from rules import source_config
from worker import Job, serve

from agentloop.contracts import DataSourceConfig
from agentloop.data.arrow_block import inspect_block
from agentloop.data.arrow_extract import Extract, RawRows
from agentloop.data.arrow_fit import complete
from agentloop.data.arrow_plan import plan_scan


def run(job: Job) -> dict[str, Any]:
    blocks = read_blocks(job.files)
    plan = scan_plan(blocks[0])
    spent = []
    for block in blocks:
        began = time.process_time()
        inspect_block(RawRows(block), plan)
        spent.append((block.num_rows, time.process_time() - began))
    return {"check_s": seconds_per_million(spent), "convert_s": 0.0}


def scan_plan(head: pa.Table) -> Any:
    """The plan that the pipeline makes of the same demands."""
    config = DataSourceConfig.model_validate(source_config("rows"))
    extract = Extract("rows", "csv", head)
    return complete(plan_scan(extract, config), extract, config)


if __name__ == "__main__":
    raise SystemExit(serve(run))
