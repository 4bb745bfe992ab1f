"""What pandera costs block by block. Option: ``pandas`` or ``polars``, its backend.

A block arrives as an Arrow table, as it does in the pipeline, and so has to be converted first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from block_rows import read_blocks, seconds_per_million
from worker import Job, serve


def run(job: Job) -> dict[str, Any]:
    blocks = read_blocks(job.files)
    # The process's time: polars and Arrow work in threads of their own.
    convert, validate = pandas_backend() if job.option == "pandas" else polars_backend()
    converting, checking = [], []
    for block in blocks:
        began = time.process_time()
        frame = convert(block)
        converted = time.process_time()
        validate(frame)
        converting.append((block.num_rows, converted - began))
        checking.append((block.num_rows, time.process_time() - converted))
    return {
        "check_s": seconds_per_million(checking),
        "convert_s": seconds_per_million(converting),
    }


Step = Callable[[Any], Any]


def pandas_backend() -> tuple[Step, Step]:
    from pandas_checks import pandas_schema
    from rules import CATEGORIES, TIME

    schema = pandas_schema(unique=False)
    types = dict.fromkeys(CATEGORIES, "category") | {TIME: "datetime64[ns]"}

    def convert(block: pa.Table) -> Any:
        return block.to_pandas().astype(types)

    return convert, lambda frame: schema.validate(frame, lazy=True)


def polars_backend() -> tuple[Step, Step]:
    import polars as pl
    from polars_checks import polars_schema

    schema = polars_schema()
    return pl.from_arrow, lambda frame: schema.validate(frame, lazy=True)


if __name__ == "__main__":
    raise SystemExit(serve(run))
