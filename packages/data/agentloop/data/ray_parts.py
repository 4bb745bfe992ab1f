"""A source's parts as a Ray Data source, and the sealing of row groups as Ray tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import ray
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from agentloop.contracts.data import DataSchema
from agentloop.data.arrow_extract import SourcePart
from agentloop.data.arrow_seal import SealedGroup, seal_group
from agentloop.data.ray_scan import placed


class PartsDatasource(Datasource):
    """One read task a part. What ``inspect`` makes of a chunk is a block of its own."""

    def __init__(
        self, parts: tuple[SourcePart, ...], inspect: Callable[[pa.Table], pa.Table] | None
    ) -> None:
        super().__init__()
        self._parts = parts
        self._inspect = inspect

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: Any = None,
    ) -> list[ReadTask]:
        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [
            ReadTask(_Reader(part, number, self._inspect), unknown)
            for number, part in enumerate(self._parts)
        ]


@dataclass(frozen=True, slots=True)
class _Reader:
    part: SourcePart
    number: int
    inspect: Callable[[pa.Table], pa.Table] | None

    def __call__(self) -> Iterator[pa.Table]:
        for position, chunk in enumerate(self.part.chunks()):
            named = placed(chunk, self.number, position)
            yield named if self.inspect is None else self.inspect(named)


@dataclass(frozen=True, slots=True)
class RaySealer:
    """Seals groups in Ray tasks of ``cpus`` each, ``at_once`` of them."""

    schema: DataSchema
    cpus: float
    at_once: int
    _task: Any = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_task", ray.remote(seal_group).options(num_cpus=self.cpus))

    def submit(self, group: pa.Table, keep_all: bool) -> Callable[[], SealedGroup]:
        # A slice would be stored with all that it is a slice of, a block at a time.
        place = ray.put(group.combine_chunks())
        future = self._task.remote(place, self.schema, keep_all)

        def result() -> SealedGroup:
            sealed: SealedGroup = ray.get(future)
            return sealed

        return result
