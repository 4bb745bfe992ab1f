"""Nouns of lineage: what a job read, what it made of it, and how that went.

They know nothing of OpenLineage: ``openlineage_events`` says them in its words, and an emitter
keeps them. Namespaces and names follow https://openlineage.io/docs/spec/naming.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from agentloop.contracts.data import DataProfile

RunState = Literal["START", "COMPLETE", "FAIL", "ABORT"]
DatasetKind = Literal["source", "dataset", "model", "report", "endpoint"]
DEFAULT_NAMESPACE = "agentloop"
_RUNS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:agentloop:runs")


@dataclass(frozen=True, slots=True)
class ColumnInput:
    """A column that another one is made of. ``how`` is IDENTITY, TRANSFORMATION or FILTER."""

    namespace: str
    dataset: str
    column: str
    how: str = "IDENTITY"
    description: str = ""


@dataclass(frozen=True, slots=True)
class LineageAssertion:
    """One claim about the data, and whether it held. ``severity`` is ``error`` or ``warn``."""

    assertion: str
    success: bool
    column: str | None = None
    severity: str = "error"
    description: str = ""


@dataclass(frozen=True, slots=True)
class LineageDataset:
    """A dataset of any ``kind`` at one ``version``; ``uri`` holds no password.

    ``columns`` maps a column to its type; ``origins`` a column to what it is made of, and
    ``filters`` are the columns that decided which rows are in. ``file_format`` is that of its
    files, where it has any; ``link`` is where they lie: a namespace and a name.
    """

    kind: DatasetKind
    namespace: str
    name: str
    version: str = ""
    description: str = ""
    uri: str = ""
    file_format: str = ""
    link: tuple[str, str] | None = None
    rows: int | None = None
    columns: Mapping[str, str] | None = None
    origins: Mapping[str, tuple[ColumnInput, ...]] | None = None
    filters: tuple[ColumnInput, ...] = ()
    profile: DataProfile | None = None
    assertions: tuple[LineageAssertion, ...] = ()


@dataclass(frozen=True, slots=True)
class LineageRun:
    """One run of a job, ``<model>.<stage>`` in ``namespace``. The run that it is a part of is its
    ``parent``."""

    id: str
    namespace: str
    job: str
    description: str = ""
    parent: LineageRun | None = None


@dataclass(frozen=True, slots=True)
class LineageEvent:
    """A run's change of state. ``error`` is what a FAIL or an ABORT says; ``engine`` is what did
    the work, as name and version."""

    state: RunState
    at: datetime
    run: LineageRun
    inputs: tuple[LineageDataset, ...] = ()
    outputs: tuple[LineageDataset, ...] = ()
    error: str = ""
    engine: tuple[str, str] | None = None
    code_version: str = ""


class LineageEmitter(Protocol):
    """Where events go. Lineage never stops or slows a run: nothing here raises or waits long."""

    def emit(self, event: LineageEvent) -> None:
        """Keep the event, and have it sent where that is asked for."""
        ...

    def events(self) -> Iterator[Mapping[str, Any]]:
        """Every kept event as OpenLineage's JSON, oldest first."""
        ...

    def flush(self, timeout_s: float = 3.0) -> None:
        """Wait until what was emitted is sent, or the time is over."""
        ...


def run_id(namespace: str, job: str, key: str, attempt: str = "") -> str:
    """A UUID (version 5) that is the same for the same work, so that a stage that is tried again
    is the same run."""
    return str(uuid.uuid5(_RUNS, "\0".join((namespace, job, key, attempt))))


def lineage_run(
    namespace: str,
    job: str,
    key: str,
    attempt: str = "",
    description: str = "",
    parent: LineageRun | None = None,
) -> LineageRun:
    """The run of ``job`` that ``key`` and ``attempt`` name."""
    return LineageRun(run_id(namespace, job, key, attempt), namespace, job, description, parent)


_parent: ContextVar[LineageRun | None] = ContextVar("agentloop_lineage_parent", default=None)


@contextmanager
def part_of(run: LineageRun) -> Iterator[None]:
    """Jobs that begin in here, in this task, are parts of ``run``: a package's front door needs
    no argument for who opened it."""
    token = _parent.set(run)
    try:
        yield
    finally:
        _parent.reset(token)


def parent_run() -> LineageRun | None:
    """The run that the current task is a part of."""
    return _parent.get()
