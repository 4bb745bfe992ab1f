"""Scan and seal in the calling process, one thread a processor: what a small source needs.

Ray Data's first block of a job takes seconds, its workers' imports most of them; Arrow and numpy
let threads run side by side.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import pyarrow as pa

from agentloop.contracts.data import DataSchema
from agentloop.data.arrow_extract import Extract
from agentloop.data.arrow_seal import SealedGroup, seal_group
from agentloop.data.arrow_work import BLOCK_ROWS, ChunkWork, cut_head


def run_here(extract: Extract, work: ChunkWork, block_rows: int = BLOCK_ROWS) -> Iterator[Any]:
    """What ``work`` makes of every block, in the source's order; few blocks are held at once."""
    at_once = os.cpu_count() or 1
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="scan")
    waiting: deque[Future[Any]] = deque()
    try:
        for task in _tasks(extract, work, block_rows):
            waiting.append(pool.submit(task))
            if len(waiting) > at_once:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class ThreadSealer:
    """Seals groups in threads of this process. Close it."""

    def __init__(self, schema: DataSchema) -> None:
        self.at_once = os.cpu_count() or 1
        self._schema = schema
        self._pool = ThreadPoolExecutor(self.at_once, thread_name_prefix="seal")

    def submit(self, group: pa.Table, keep_all: bool) -> Callable[[], SealedGroup]:
        return self._pool.submit(seal_group, group, self._schema, keep_all).result

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def _tasks(extract: Extract, work: ChunkWork, block_rows: int) -> Iterator[Callable[[], Any]]:
    if not extract.parts:
        for number, raw in enumerate(cut_head(extract, block_rows)):
            yield partial(work.work, raw, (0, number))
        return
    for number, part in enumerate(extract.parts):
        for position, chunk in enumerate(part.chunks()):
            yield partial(work, chunk, (number, position))
