"""Gather a batch's blocks, in order, into files that hold the same bytes for the same rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa

from agentloop.contracts.errors import SchemaMismatch
from agentloop.data.arrow_block import REASONS, Block, Place, Places, arrow_schema, with_article
from agentloop.data.arrow_cast import MAX_BAD
from agentloop.data.arrow_checks import Failure, Mask, tally
from agentloop.data.arrow_groups import FixedGroups
from agentloop.data.arrow_seal import SealedGroup, Sealer
from agentloop.data.arrow_summary import column_keys
from agentloop.data.batch import (
    Accepted,
    CheckKey,
    ScanPlan,
    Tally,
    Timings,
    TransformedBatch,
)
from agentloop.data.policy import row_verdict
from agentloop.data.seen import SeenKeys
from agentloop.data.sketch import Summary, merge_summaries
from agentloop.data.times import iso_time
from agentloop.lifecycle.arrow_dataset import content_hash, group_rows

PART = "part-{:05}.parquet"
FAILING = "failing.parquet"


class Stage:
    """Folds blocks into one TransformedBatch. Use as a context manager: it closes its files.

    Rows are cut anew into groups whose size depends on the schema alone, and each group is sealed
    elsewhere, so that neither the files nor the profile depend on how rows arrived. ``kept`` holds
    bool (rows,) for each block of which a row was set aside or dropped.
    """

    def __init__(self, folder: Path, plan: ScanPlan, source: str, sealer: Sealer) -> None:
        self._folder = folder
        self._plan = plan
        self._source = source
        self._sealer = sealer
        self._group_rows = group_rows(len(plan.schema.columns))
        self._waiting: list[pa.Table] = []
        self._waiting_rows = self._groups = 0
        self._under_way: deque[Callable[[], SealedGroup]] = deque()
        self._digests: list[bytes] = []
        self._summaries: dict[str, Summary] = {}
        self._failing: FixedGroups | None = None
        self._tallies: dict[CheckKey, Tally] = {}
        self._seen = {c.name: SeenKeys() for c in plan.schema.columns if c.unique}
        self._dropped = [SeenKeys() for _ in range(plan.repeats)]
        self.kept: dict[Place, Mask] = {}
        self._rows = self._failing_rows = self._anomalies = self._total = self._repeats = 0
        self._scan_s = self._seal_s = self._profile_s = 0.0

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        if self._failing is not None:
            self._failing.close(kind is None)

    @property
    def rows(self) -> int:
        """Rows accepted so far."""
        return self._rows

    def add(self, block: Block) -> None:
        """Take the next block. Raises SchemaMismatch for values of another kind."""
        if block.misfits:
            raise SchemaMismatch(
                self._source,
                self._told_misfits(block),
                next_step="fix those rows, set data.checks.policy: {kind: quarantine}, or declare "
                "another kind under data.columns",
            )
        for key, found in block.tallies.items():
            self._count(key, found.moved(self._total))
        if block.failing is not None:
            self._set_aside(block.failing)
        self._gather(self._without_repeats(block))
        self._anomalies += block.anomalies
        self._total += block.total
        self._scan_s += block.seconds

    def finish(self, history: tuple[Accepted, ...], notes: tuple[str, ...]) -> TransformedBatch:
        """What was gathered, once all of it is on disk."""
        self._submit(self._waiting_rows, keep_all=self._groups == 0)
        while self._under_way:
            self._collect()
        if self._repeats:
            notes = (*notes, f"{self._repeats:,} repeated rows were dropped (drop_duplicates)")
        schema = self._plan.schema
        return TransformedBatch(
            self._source,
            schema,
            self._folder,
            content_hash(schema, self._rows, self._digests),
            self._rows,
            self._failing_rows,
            self._anomalies,
            self._tallies,
            self._summaries,
            history,
            notes,
            iso_time(schema, self._plan.time_column, self._summaries),
            self._plan.kinds,
            Timings(self._scan_s, self._seal_s, self._profile_s),
        )

    def _gather(self, rows: pa.Table) -> None:
        self._rows += rows.num_rows
        self._waiting.append(rows)
        self._waiting_rows += rows.num_rows
        # A full group waits for the next row: only then it is known not to be the only one.
        while self._waiting_rows > self._group_rows:
            self._submit(self._group_rows, keep_all=False)

    def _submit(self, size: int, keep_all: bool) -> None:
        table = pa.concat_tables(self._waiting or [arrow_schema(self._plan.schema).empty_table()])
        self._under_way.append(self._sealer.submit(table.slice(0, size), keep_all))
        self._waiting = [table.slice(size)]
        self._waiting_rows -= size
        self._groups += 1
        while len(self._under_way) > self._sealer.at_once:
            self._collect()

    def _collect(self) -> None:
        sealed = self._under_way.popleft()()
        path = self._folder / PART.format(len(self._digests))
        with path.open("wb") as file:
            file.write(sealed.parquet)
        self._digests.append(sealed.digest)
        parts = [self._summaries, sealed.summaries] if self._summaries else [sealed.summaries]
        self._summaries = merge_summaries(parts)
        self._seal_s += sealed.seconds
        self._profile_s += sealed.profile_seconds

    def _count(self, key: CheckKey, found: Tally) -> None:
        known = self._tallies.get(key)
        self._tallies[key] = known.merge(found) if known else found

    def _set_aside(self, rows: pa.Table) -> None:
        if self._failing is None:
            self._failing = FixedGroups(self._folder / FAILING, rows.schema)
        self._failing.write(rows)
        self._failing_rows += rows.num_rows

    def _without_repeats(self, block: Block) -> pa.Table:
        rows, places, index = block.rows, block.places, block.index
        kept = np.ones(rows.num_rows, bool)
        for keys, seen in zip(block.keys, self._dropped, strict=True):
            kept[kept] = ~seen.repeated(keys[kept])
        if not kept.all():
            self._repeats += int((~kept).sum())
            rows, places, index = rows.filter(pa.array(kept)), places[kept], index[kept]
        failures = self._repeated_values(rows)
        if not failures:
            self._remember(block, index)
            return rows
        for failure in failures:
            self._count(failure.key, tally(rows, failure, places).moved(self._total))
        if row_verdict(self._plan.checks, ("unique", "")).severity == "warn":
            self._remember(block, index)
            return rows
        drop = np.any([failure.mask for failure in failures], axis=0)
        self._remember(block, index[~drop])
        names = ", ".join(failure.key[1] for failure in failures)
        told = pa.array([f"{names}: seen before"] * int(drop.sum()), pa.string())
        self._set_aside(rows.filter(pa.array(drop)).append_column(REASONS, told))
        return rows.filter(pa.array(~drop))

    def _remember(self, block: Block, index: Places) -> None:
        """Which of a block's rows were kept, where not all of them were."""
        if len(index) < block.taken:
            kept: Mask = np.zeros(block.taken, bool)
            kept[index] = True
            self.kept[block.place] = kept

    def _repeated_values(self, rows: pa.Table) -> list[Failure]:
        """A failure for each unique column that has a value which was seen before."""
        failures = []
        for name, seen in self._seen.items():
            column = rows.column(name)
            valid = np.asarray(column.is_valid().to_numpy(zero_copy_only=False), bool)
            repeated: Mask = np.zeros(rows.num_rows, bool)
            repeated[valid] = seen.repeated(column_keys(column.drop_null()))
            if repeated.any():
                failures.append(Failure(("unique", name), repeated, "seen before"))
        return failures

    def _told_misfits(self, block: Block) -> tuple[str, ...]:
        kinds = {**self._plan.kinds, **{c.name: c.kind for c in self._plan.schema.columns}}
        lines = [
            f"row {self._total + row + 1}: '{value[:40]}' in column '{name}' is not "
            f"{with_article(kinds[name])}"
            for name, bad in block.misfits.items()
            for row, value in bad
        ]
        return tuple(lines[:MAX_BAD])
