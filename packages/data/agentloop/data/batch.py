"""What one pass over a batch leaves behind: the nouns between the steps of ingestion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agentloop.contracts.data import ColumnKind, DataProfile, DataSchema
from agentloop.contracts.spec import ChecksSpec
from agentloop.data.sketch import Summary

# A row check, and the column that it looked at (of a rule, its name).
CheckKey = tuple[str, str]
MAX_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Scale:
    """Median and robust standard deviation, above 0, of a number column."""

    name: str
    median: float
    sigma: float


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """What every block is held against. It travels to Ray's workers.

    ``kinds`` are those of the source's columns as they are read; ``schema`` is what the columns are
    after the ``steps`` (a fitted plan, or None). ``since`` is a column and the time (microseconds
    since 1970, or a number) that its rows must be past. ``repeats`` counts the drop_duplicates.
    """

    schema: DataSchema
    kinds: Mapping[str, ColumnKind]
    missing: tuple[str, ...]
    from_text: bool
    checks: ChecksSpec
    scales: tuple[Scale, ...]
    steps: Any = None
    since: tuple[str, float] | None = None
    time_column: str | None = None
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class Example:
    """A row that failed: its 0-based place, the value that was wrong, and its values as text."""

    row: int
    value: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many rows failed a check, and the first of them."""

    count: int
    examples: tuple[Example, ...] = ()

    def merge(self, other: Tally) -> Tally:
        return Tally(self.count + other.count, (*self.examples, *other.examples)[:MAX_EXAMPLES])

    def moved(self, rows: int) -> Tally:
        """The same tally, its examples ``rows`` further down."""
        return Tally(self.count, tuple(replace(e, row=e.row + rows) for e in self.examples))


@dataclass(frozen=True, slots=True)
class Accepted:
    """A version of the dataset that a batch is compared with."""

    version: str
    schema: DataSchema
    profile: DataProfile
    latest_time: str = ""


@dataclass(frozen=True, slots=True)
class Timings:
    """CPU seconds, in all workers together: of the scan, of sealing groups, and of the profile
    (which is a part of sealing)."""

    scan: float = 0.0
    seal: float = 0.0
    profile: float = 0.0


@dataclass(frozen=True, slots=True)
class TransformedBatch:
    """A batch after its one pass: rows staged on disk, everything else counted.

    ``rows`` passed or were let through, ``failing`` were set aside; ``staging`` holds
    ``part-00000.parquet`` … and, where any row failed, ``failing.parquet`` with ``_reasons``.
    ``history`` holds the versions accepted last, newest first; ``kinds`` are the source's columns
    as they were read.
    """

    source: str
    schema: DataSchema
    staging: Path
    content_hash: str
    rows: int
    failing: int
    anomalies: int
    tallies: Mapping[CheckKey, Tally]
    summaries: Mapping[str, Summary]
    history: tuple[Accepted, ...] = ()
    notes: tuple[str, ...] = ()
    latest_time: str = ""
    kinds: Mapping[str, ColumnKind] = field(default_factory=dict)
    timings: Timings = Timings()
