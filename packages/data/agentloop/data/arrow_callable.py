"""Frames that a Python function returns or yields, as a source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from agentloop.contracts.errors import EmptySource, SourceUnreadable
from agentloop.contracts.spec_data import CallableSource
from agentloop.data.arrow_extract import Extract
from agentloop.data.arrow_table import (
    check_columns,
    check_schema,
    check_table,
    first_line,
    joined,
    plain,
)
from agentloop.data.callable_source import called_source, frames_of


@dataclass(frozen=True, slots=True)
class CallablePart:
    """Calls the function again, so that what it yields need not fit into memory."""

    target: str
    base_dir: Path
    since: str | None = None

    def chunks(self) -> Iterator[pa.Table]:
        """What it returns or yields, columns in the first table's order. Raises SourceNotFound,
        SourceUnreadable, SchemaMismatch."""
        first: list[str] = []
        with called_source(self.target, self.base_dir, self.since) as value:
            for frame in frames_of(value, self.target):
                table = _as_table(frame, self.target)
                check_schema(table.schema, self.target)
                first = first or table.column_names
                check_columns(table.column_names, first, "a later table", self.target)
                yield table.select(first)


def extract_callable(
    source: CallableSource, base_dir: Path, since: str | None, large_bytes: int
) -> Extract:
    """Raises SourceNotFound, SourceUnreadable, EmptySource, SchemaMismatch."""
    part = CallablePart(source.target, base_dir, since)
    tables, size, complete = [], 0, True
    for table in part.chunks():
        tables.append(table)
        size += table.nbytes
        # One table is in memory as it is: only what is yielded can be called for again.
        if size > large_bytes and len(tables) > 1:
            complete = False
            break
    if not tables:
        raise EmptySource(source.target)
    head = joined(tables, source.target)
    check_table(head, source.target)
    return Extract(source.target, "callable", head, parts=() if complete else (part,))


def _as_table(value: Any, target: str) -> pa.Table:
    try:
        if isinstance(value, pa.RecordBatch):
            value = pa.Table.from_batches([value])
        if isinstance(value, pa.Table):
            return plain(value)
        if type(value).__module__.split(".")[0] == "pandas":
            return plain(pa.Table.from_pandas(value, preserve_index=False))
    except (pa.ArrowException, TypeError, AttributeError, ValueError) as error:
        raise SourceUnreadable(target, first_line(error)) from None
    kind = type(value).__name__
    reason = f"it returned {kind}, not a pandas DataFrame or a pyarrow Table"
    raise SourceUnreadable(target, reason)
