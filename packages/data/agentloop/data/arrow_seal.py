"""Seal a row group: its Parquet file, what identifies it, and its part of the profile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from agentloop.contracts.data import DataSchema
from agentloop.data.arrow_summary import summarise_group
from agentloop.data.sketch import Summary
from agentloop.lifecycle.arrow_dataset import TEXT_KINDS, group_digest


@dataclass(frozen=True, slots=True)
class SealedGroup:
    """``parquet`` is a whole file; ``seconds`` of CPU in all, ``profile_seconds`` of them for the
    summaries."""

    parquet: Any
    digest: bytes
    summaries: dict[str, Summary]
    seconds: float
    profile_seconds: float


class Sealer(Protocol):
    """Seals groups somewhere else, a few at a time."""

    @property
    def at_once(self) -> int:
        """How many groups may be under way."""
        ...

    def submit(self, group: pa.Table, keep_all: bool) -> Callable[[], SealedGroup]:
        """Begin to seal; the result waits for the end of it."""
        ...


@dataclass(frozen=True, slots=True)
class InlineSealer:
    """Seals in the calling process: for tests, and for whoever has no Ray."""

    schema: DataSchema
    at_once: int = 0

    def submit(self, group: pa.Table, keep_all: bool) -> Callable[[], SealedGroup]:
        return lambda: seal_group(group, self.schema, keep_all)


def seal_group(group: pa.Table, schema: DataSchema, keep_all: bool) -> SealedGroup:
    """Pure: the same rows give the same bytes."""
    began = time.thread_time()
    group = group.combine_chunks()
    summaries = summarise_group(group, schema, keep_all)
    profiled = time.thread_time()
    sink = pa.BufferOutputStream()
    texts = [column.name for column in schema.columns if column.kind in TEXT_KINDS]
    with pq.ParquetWriter(
        sink,
        group.schema,
        compression="zstd",
        version="2.6",
        store_schema=False,
        use_dictionary=texts,  # of measured numbers it only makes the file larger, and costs time
    ) as writer:
        writer.write_table(group, row_group_size=max(group.num_rows, 1))
    digest = group_digest(group, schema)
    return SealedGroup(
        sink.getvalue(), digest, summaries, time.thread_time() - began, profiled - began
    )
