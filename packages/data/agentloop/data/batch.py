"""What one pass over a batch leaves behind: the nouns between the steps of ingestion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agentloop.contracts.data import DataProfile, DataSchema, Severity
from agentloop.data.sketch import Summary

# A row check and the column it looked at.
CheckKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Scale:
    """Median and robust standard deviation, above 0, of a number column."""

    name: str
    median: float
    sigma: float


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """What every block is held against. It travels to Ray's workers."""

    schema: DataSchema
    missing: tuple[str, ...]
    from_text: bool
    on_failure: Severity
    scales: tuple[Scale, ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """How many rows failed a check, and up to three of the values."""

    count: int
    examples: tuple[str, ...] = ()

    def merge(self, other: Tally) -> Tally:
        return Tally(self.count + other.count, (*self.examples, *other.examples)[:3])


@dataclass(frozen=True, slots=True)
class Accepted:
    """The dataset's last version, which a batch is compared with."""

    version: str
    schema: DataSchema
    profile: DataProfile


@dataclass(frozen=True, slots=True)
class TransformedBatch:
    """A batch after its one pass: rows staged on disk, everything else counted.

    ``rows`` passed or were let through, ``failing`` were set aside; ``staging`` holds
    ``part-00000.parquet`` and, where any row failed, ``failing.parquet`` with ``_reasons``.
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
    last: Accepted | None = None
    notes: tuple[str, ...] = ()
