"""The blocks that block checks are measured on: Arrow tables in their final types."""

from __future__ import annotations

import statistics
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
from rules import CATEGORIES, FLOATS, INTEGERS, NAMES, TIME

BLOCK_ROWS = 131_072
BLOCKS = 8

TYPES = {
    **dict.fromkeys(FLOATS, pa.float64()),
    **dict.fromkeys(INTEGERS, pa.int64()),
    **dict.fromkeys(CATEGORIES, pa.string()),
    TIME: pa.timestamp("us"),
}


def read_blocks(files: list[Path]) -> list[pa.Table]:
    """The first rows, in at most ``BLOCKS`` blocks."""
    options = pacsv.ConvertOptions(column_types=TYPES)
    table = pacsv.read_csv(files[0], convert_options=options).select(list(NAMES))
    return [
        table.slice(start, BLOCK_ROWS).combine_chunks()
        for start in range(0, table.num_rows, BLOCK_ROWS)
    ][:BLOCKS]


def seconds_per_million(blocks: list[tuple[int, float]]) -> float:
    """The median over blocks of (rows, seconds)."""
    return round(statistics.median(seconds / rows * 1e6 for rows, seconds in blocks), 4)
