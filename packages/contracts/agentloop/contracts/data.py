"""Nouns of the data package: schema, profile, finding, version, batch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

ColumnKind = Literal["number", "integer", "boolean", "category", "text", "datetime"]
Severity = Literal["warn", "quarantine", "reject"]


@dataclass(frozen=True, slots=True)
class ColumnSchema:
    """One column. ``minimum``/``maximum`` bound numbers; ``categories`` bounds categories;
    ``pattern`` is what the whole of a text must match."""

    name: str
    kind: ColumnKind
    nullable: bool = True
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] | None = None
    unique: bool = False
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class DataSchema:
    """Columns in file order, and which of them is the target."""

    columns: tuple[ColumnSchema, ...]
    target: str

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def features(self) -> tuple[ColumnSchema, ...]:
        """Every column but the target."""
        return tuple(column for column in self.columns if column.name != self.target)

    def column(self, name: str) -> ColumnSchema:
        """The column of that name. Raises KeyError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def digest(self) -> str:
        """sha256 (hex) of the schema's canonical JSON."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """What one pass saw of one column.

    ``quantiles`` maps a probability in [0, 1], as text, to a value; ``histogram`` holds
    ``(edges (bins + 1,), counts (bins,))``; ``top`` the most frequent values with their counts,
    each too low by at most ``top_error`` (0 up to 4,096 different values). Numbers are None where
    the column has no order.
    """

    name: str
    kind: ColumnKind
    count: int
    nulls: int
    distinct: int
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    std: float | None = None
    quantiles: Mapping[str, float] = field(default_factory=dict)
    histogram: tuple[tuple[float, ...], tuple[int, ...]] | None = None
    top: tuple[tuple[str, int], ...] = ()
    top_error: int = 0

    @property
    def null_rate(self) -> float:
        total = self.count + self.nulls
        return self.nulls / total if total else 0.0


@dataclass(frozen=True, slots=True)
class DataProfile:
    """A dataset's columns, profiled in one streaming pass."""

    rows: int
    columns: tuple[ColumnProfile, ...]

    def column(self, name: str) -> ColumnProfile:
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a check found.

    ``examples`` holds up to three offending values and ``rows`` the rows they are in, as text by
    column (``#`` is the row's number in the source, from 1). ``policy`` is the setting that gave
    the finding its severity, e.g. ``data.checks.policy.unique: quarantine``.
    """

    check: str
    severity: Severity
    column: str | None
    count: int
    message: str
    examples: tuple[str, ...] = ()
    rows: tuple[Mapping[str, str], ...] = ()
    policy: str = ""


@dataclass(frozen=True, slots=True)
class BatchValidation:
    """The outcome of all checks on a batch."""

    is_valid: bool
    findings: tuple[Finding, ...] = ()

    @property
    def errors(self) -> tuple[str, ...]:
        return tuple(f.message for f in self.findings if f.severity == "reject")


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """An accepted, immutable batch. The same content gives the same ``version``.

    ``content_hash`` is the sha256 (hex) of the stored rows; ``uri`` the folder of Parquet files;
    ``revision`` the git commit that DVC's pointer file is in; ``source`` where its rows came from;
    ``parent`` the version accepted before it; ``latest_time`` the latest value of the source's time
    column (ISO 8601), from which ``since: last`` goes on.
    """

    name: str
    version: str
    content_hash: str
    rows: int
    uri: str
    schema: DataSchema
    revision: str
    created_at: str
    source: str = ""
    parent: str = ""
    batch_id: str = ""
    latest_time: str = ""

    def __str__(self) -> str:
        return self.version


@dataclass(frozen=True, slots=True)
class DataBatch:
    """What ``DataIngestionPipeline.ingest_batch`` returns."""

    id: str
    version: DatasetVersion
    profile: DataProfile
    validation: BatchValidation
