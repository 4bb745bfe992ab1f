"""Work on the blocks of a source, wherever it is done: here in threads, or in Ray's workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from agentloop.contracts.data import ColumnKind
from agentloop.data.arrow_block import Block, Place, inspect_block
from agentloop.data.arrow_extract import ChunkParser, Extract, RawRows, TornRow
from agentloop.data.batch import ScanPlan

BLOCK_ROWS = 25_000


class Work(Protocol):
    """Picklable. ``place`` tells a block from all others, the same in every pass."""

    def __call__(self, raw: RawRows, place: Place) -> Any: ...


@dataclass(frozen=True, slots=True)
class Inspection:
    """Casts, transforms and checks a block."""

    plan: ScanPlan

    def __call__(self, raw: RawRows, place: Place) -> Block:
        return inspect_block(raw, self.plan, place)


@dataclass(frozen=True, slots=True)
class ChunkWork:
    """Parses a chunk where it needs that, and works on its rows."""

    parser: ChunkParser | None
    kinds: Mapping[str, ColumnKind]
    work: Work

    def __call__(self, chunk: pa.Table, place: Place) -> Any:
        raw = RawRows(chunk) if self.parser is None else self.parser(chunk, self.kinds)
        return self.work(raw, place)


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
