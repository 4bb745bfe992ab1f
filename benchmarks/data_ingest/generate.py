"""Make the rows: CSV files of at most a million rows each, the same for the same seed.

File i holds the same rows whatever the size, so that a smaller size is a part of a larger one, and
its folder links to the same files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from rules import CATEGORIES, FLOATS, KEY, LARGER, NAMES, NULL_LIMITS, SMALLER, TIME

FILE_ROWS = 1_000_000
CHUNK_ROWS = 100_000
START = 1_704_067_200  # 2024-01-01, in seconds since 1970
NULL_SHARE = 0.5  # of the limit
# An odd factor modulo a power of two: every identifier once, in no order.
SCATTER, SCATTER_MODULUS = 0x9E3779B1, 1 << 40


def make_rows(folder: Path, rows: int, seed: int, scattered: bool = False) -> Path:
    """The folder with CSV files of ``rows`` rows in all; what is there already is kept.

    Identifiers grow, as a database's serial does, unless they are ``scattered``.
    """
    kind = f"seed-{seed}{'-scattered' if scattered else ''}"
    size = folder / "csv" / kind / f"{rows}-rows"
    size.mkdir(parents=True, exist_ok=True)
    for number, first in enumerate(range(0, rows, FILE_ROWS)):
        count = min(FILE_ROWS, rows - first)
        made = folder / "csv" / kind / "files" / f"{number:03}-{count}.csv"
        if not made.exists():
            _write(made, number, count, seed, scattered)
        link = size / f"part-{number:03}.csv"
        if not link.exists():
            os.link(made, link)
    return size


def _write(path: Path, number: int, rows: int, seed: int, scattered: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    options = pacsv.WriteOptions(quoting_style="needed")
    writer = None
    for table in _chunks(number, rows, seed, scattered):
        writer = writer or pacsv.CSVWriter(partial, table.schema, write_options=options)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    partial.rename(path)


def _chunks(number: int, rows: int, seed: int, scattered: bool) -> Iterator[pa.Table]:
    random = np.random.default_rng((seed, number))
    for start in range(0, rows, CHUNK_ROWS):
        chunk = _chunk(random, number * FILE_ROWS + start, scattered)
        yield chunk.slice(0, rows - start)


def _chunk(random: np.random.Generator, first: int, scattered: bool) -> pa.Table:
    places = np.arange(first, first + CHUNK_ROWS, dtype=np.int64)
    columns: dict[str, Any] = {
        KEY: places * SCATTER % SCATTER_MODULUS if scattered else places + 1,
        TIME: pa.array(START + places + random.integers(0, 5, CHUNK_ROWS), pa.timestamp("s")),
        "visits": random.poisson(4, CHUNK_ROWS),
        "age": random.integers(18, 96, CHUNK_ROWS),
        "points": random.geometric(0.001, CHUNK_ROWS),
    }
    for name in FLOATS:
        columns[name] = _floats(random, name)
    columns[LARGER] = columns[LARGER] + columns[SMALLER]
    for name in NULL_LIMITS:
        empty = random.random(CHUNK_ROWS) < NULL_SHARE * NULL_LIMITS[name]
        columns[name] = pa.array(columns[name], mask=empty)
    for name, values in CATEGORIES.items():
        codes = pa.array(_zipf(random, len(values)), pa.int32())
        columns[name] = pa.DictionaryArray.from_arrays(codes, pa.array(values)).cast(pa.string())
    return pa.table({name: columns[name] for name in NAMES})


def _floats(random: np.random.Generator, name: str) -> np.ndarray:
    """Six decimals, as measured values have; ``name`` is a family and a number from 1."""
    scale = int(name[-1])
    match name[:-1]:
        case "normal":
            values = random.normal(10 * scale, scale, CHUNK_ROWS)
        case "skewed":
            values = random.lognormal(scale / 2, 0.4, CHUNK_ROWS)
        case _:
            values = random.exponential(scale, CHUNK_ROWS)
    return values.round(6)


def _zipf(random: np.random.Generator, count: int) -> np.ndarray:
    weights = 1 / np.arange(1, count + 1)
    edges = np.cumsum(weights / weights.sum())
    return np.minimum(np.searchsorted(edges, random.random(CHUNK_ROWS)), count - 1)
