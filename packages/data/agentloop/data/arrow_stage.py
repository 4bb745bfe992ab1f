"""Gather a batch's blocks, in order, into files that hold the same bytes for the same rows."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agentloop.contracts.errors import SchemaMismatch
from agentloop.data.arrow_block import (
    REASONS,
    Block,
    Mask,
    arrow_schema,
    numbers_of,
    summarise_block,
)
from agentloop.data.arrow_cast import MAX_BAD
from agentloop.data.batch import Accepted, CheckKey, ScanPlan, Tally, TransformedBatch
from agentloop.data.sketch import Hashes, Summary, hash_numbers, hash_texts, merge_summaries
from agentloop.lifecycle.arrow_dataset import ContentHasher

PART = "part-00000.parquet"
FAILING = "failing.parquet"
ROW_GROUP_ROWS = 65_536


class FixedGroups:
    """A Parquet file whose row groups do not depend on how its rows arrive."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(
            path, schema, compression="zstd", version="2.6", store_schema=False
        )
        self._waiting = schema.empty_table()

    def write(self, table: pa.Table) -> None:
        waiting = pa.concat_tables([self._waiting, table])
        while waiting.num_rows >= ROW_GROUP_ROWS:
            self._write(waiting.slice(0, ROW_GROUP_ROWS))
            waiting = waiting.slice(ROW_GROUP_ROWS)
        self._waiting = waiting

    def close(self, complete: bool = True) -> None:
        if complete and self._waiting.num_rows:
            self._write(self._waiting)
        self._writer.close()

    def _write(self, group: pa.Table) -> None:
        self._writer.write_table(group.combine_chunks(), row_group_size=ROW_GROUP_ROWS)


class Stage:
    """Folds blocks into one TransformedBatch. Use as a context manager: it closes its files."""

    def __init__(self, folder: Path, plan: ScanPlan, source: str) -> None:
        self._folder = folder
        self._plan = plan
        self._source = source
        self._hasher = ContentHasher(plan.schema)
        self._part = FixedGroups(folder / PART, arrow_schema(plan.schema))
        self._failing: FixedGroups | None = None
        self._tallies: dict[CheckKey, Tally] = {}
        self._summaries: list[dict[str, Summary]] = []
        self._seen = {c.name: np.empty(0, np.uint64) for c in plan.schema.columns if c.unique}
        self._rows = self._failing_rows = self._anomalies = self._total = 0

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._part.close(kind is None)
        if self._failing is not None:
            self._failing.close(kind is None)

    def add(self, block: Block) -> None:
        """Take the next block. Raises SchemaMismatch for values of another kind."""
        if block.misfits:
            raise SchemaMismatch(
                self._source,
                self._told_misfits(block),
                next_step="fix those rows, or declare the column's kind under data.columns",
            )
        rows, summary = block.rows, block.summaries
        if block.failing is not None:
            self._set_aside(block.failing)
        repeated, names = self._repeated(rows)
        if repeated.any() and self._plan.on_failure != "warn":
            column = pa.array([f"{names}: seen before"] * int(repeated.sum()), pa.string())
            self._set_aside(rows.filter(pa.array(repeated)).append_column(REASONS, column))
            rows = rows.filter(pa.array(~repeated))
            summary = summarise_block(rows, self._plan.schema)
        self._part.write(rows)
        self._hasher.update(rows)
        self._summaries.append(summary)
        for key, tally in block.tallies.items():
            self._count(key, tally)
        self._rows += rows.num_rows
        self._anomalies += block.anomalies
        self._total += block.total

    def finish(self, last: Accepted | None, notes: tuple[str, ...]) -> TransformedBatch:
        """What was gathered; the files are whole once the context is left."""
        return TransformedBatch(
            self._source,
            self._plan.schema,
            self._folder,
            self._hasher.hexdigest(),
            self._rows,
            self._failing_rows,
            self._anomalies,
            self._tallies,
            merge_summaries(self._summaries),
            last,
            notes,
        )

    def _count(self, key: CheckKey, tally: Tally) -> None:
        known = self._tallies.get(key)
        self._tallies[key] = known.merge(tally) if known else tally

    def _set_aside(self, rows: pa.Table) -> None:
        if self._failing is None:
            self._failing = FixedGroups(self._folder / FAILING, rows.schema)
        self._failing.write(rows)
        self._failing_rows += rows.num_rows

    def _repeated(self, rows: pa.Table) -> tuple[Mask, str]:
        """Rows whose value in a unique column was seen before, and the columns' names."""
        mask, names = np.zeros(rows.num_rows, bool), []
        for name, seen in self._seen.items():
            valid = rows.column(name).is_valid().to_numpy(zero_copy_only=False)
            hashes = _hashes(rows, name)
            new, first = np.unique(hashes, return_index=True)
            repeated = ~np.isin(np.arange(rows.num_rows), first) | np.isin(hashes, seen)
            repeated &= valid
            self._seen[name] = np.union1d(seen, new)
            if repeated.any():
                places = pa.array(np.flatnonzero(repeated)[:3])
                examples = tuple(str(v) for v in rows.column(name).take(places).to_pylist())
                self._count(("unique", name), Tally(int(repeated.sum()), examples))
                names.append(name)
            mask |= repeated
        return mask, ", ".join(names)

    def _told_misfits(self, block: Block) -> tuple[str, ...]:
        lines = [
            f"row {self._total + row + 1}: '{value[:40]}' in column '{name}' is not "
            f"{_article(self._plan.schema.column(name).kind)}"
            for name, bad in block.misfits.items()
            for row, value in bad
        ]
        return tuple(lines[:MAX_BAD])


def _hashes(rows: pa.Table, name: str) -> Hashes:
    column = rows.column(name)
    if pa.types.is_string(column.type):
        return hash_texts(column.fill_null("").to_pylist())
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    if pa.types.is_integer(column.type):
        # As they are: identifiers past 2**53 would meet one another as floats.
        plain: Hashes = column.fill_null(0).to_numpy(zero_copy_only=False).view(np.uint64)
        return plain
    return hash_numbers(np.nan_to_num(numbers_of(column)))


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
