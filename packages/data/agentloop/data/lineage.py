"""Lineage of an ingest: the source that was read, the version made of it, and what was checked."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from agentloop.contracts.data import BatchValidation, DataProfile, DatasetVersion, Finding
from agentloop.contracts.errors import DataQualityError
from agentloop.contracts.spec import DataSourceConfig
from agentloop.data.lineage_columns import column_origins, row_filters
from agentloop.data.lineage_names import source_format, source_names, source_uri
from agentloop.lifecycle.lineage import (
    DEFAULT_NAMESPACE,
    LineageAssertion,
    LineageDataset,
    LineageEmitter,
    LineageEvent,
    LineageRun,
    RunState,
    lineage_run,
    parent_run,
)
from agentloop.lifecycle.lineage_process import code_version, error_text, ray_engine

_log = logging.getLogger("agentloop.lineage")
# Of a declared column, the checks that its fields ask for, by the name that findings give them.
_DECLARED = {
    "nullable": "nulls",
    "minimum": "minimum",
    "maximum": "maximum",
    "categories": "categories",
    "pattern": "pattern",
    "unique": "unique",
}


@dataclass
class IngestFacts:
    """What an ingest finds out on its way, for the event at its end. Each is optional: what is not
    told is not in the event."""

    columns: Mapping[str, str] | None = None
    profile: DataProfile | None = None
    validation: BatchValidation | None = None
    version: DatasetVersion | None = None

    def read(self, columns: Mapping[str, str]) -> None:
        """The source's columns and their kinds, as they were read."""
        self.columns = dict(columns)

    def checked(self, profile: DataProfile, validation: BatchValidation) -> None:
        """What the batch holds and what its checks found, rejected or not."""
        self.profile, self.validation = profile, validation

    def kept(self, version: DatasetVersion) -> None:
        """The version that the batch became."""
        self.version = version


@contextmanager
def ingest_lineage(
    config: DataSourceConfig,
    *,
    name: str,
    base_dir: Path,
    home: Path,
    batch_id: str,
    emitter: LineageEmitter | None = None,
    environment: Mapping[str, str] | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[IngestFacts]:
    """START on entry; at the end COMPLETE, FAIL with the error that left the block, or ABORT where
    it was cancelled or interrupted. The error goes on as it was.

    Without an ``emitter`` events go to ``home``'s file, and where ``environment`` (the process's
    own by default) says. The run's id is made of ``batch_id``: trying again is the same run.
    """
    environment = os.environ if environment is None else environment
    if emitter is None:
        from agentloop.lifecycle.openlineage_emitter import open_lineage

        emitter = open_lineage(home, environment)
    namespace = environment.get("OPENLINEAGE_NAMESPACE") or DEFAULT_NAMESPACE
    job = f"{name}.ingest"
    told = f"Reads, checks and versions the rows of {name}."
    run = lineage_run(namespace, job, batch_id, description=told, parent=parent_run())
    facts = IngestFacts()

    def emit(state: RunState, error: BaseException | None = None) -> None:
        try:
            event = ingest_event(
                config, name, base_dir, run, state, now(), facts, environment, error
            )
        except Exception as problem:  # an ingest goes on, whatever becomes of its lineage
            _log.warning("lineage: the event %s was not told (%s)", state, error_text(problem))
        else:
            emitter.emit(event)

    emit("START")
    try:
        yield facts
    except (asyncio.CancelledError, KeyboardInterrupt) as error:
        emit("ABORT", error)
        raise
    except BaseException as error:
        emit("FAIL", error)
        raise
    else:
        emit("COMPLETE")
    finally:
        if run.parent is None:  # else whoever opened the run waits at its end, once
            emitter.flush()


def ingest_event(
    config: DataSourceConfig,
    name: str,
    base_dir: Path,
    run: LineageRun,
    state: RunState,
    at: datetime,
    facts: IngestFacts,
    environment: Mapping[str, str],
    error: BaseException | None = None,
) -> LineageEvent:
    """The event of an ingest in ``state``, with what ``facts`` know by then."""
    findings = facts.validation.findings if facts.validation is not None else ()
    if isinstance(error, DataQualityError) and not findings:
        findings = error.findings
    checked = facts.validation is not None or bool(findings)
    names = source_names(config.source, base_dir, environment)
    alone = len(names) == 1  # what is known of all rows is not known of one of several tables
    about = LineageDataset(
        kind="source",
        namespace="",
        name="",
        file_format=source_format(config.source),
        description=f"The source of {name}.",
        columns=facts.columns if alone else None,
        profile=facts.profile if alone else None,
        assertions=_assertions(config, findings) if checked and alone else (),
    )
    inputs = [
        replace(about, namespace=namespace, name=path, uri=source_uri((namespace, path)))
        for namespace, path in names
    ]
    outputs: tuple[LineageDataset, ...] = ()
    if facts.version is not None and state == "COMPLETE":
        outputs = (_output(config, run.namespace, facts.version, facts.profile, names),)
    return LineageEvent(
        state=state,
        at=at,
        run=run,
        inputs=tuple(inputs),
        outputs=outputs,
        error=error_text(error),
        engine=ray_engine(),
        code_version=code_version(),
    )


def dataset_lineage(version: DatasetVersion, namespace: str) -> LineageDataset:
    """The dataset at ``version``, as the jobs after ingest read it."""
    return LineageDataset(
        kind="dataset",
        namespace=namespace,
        name=f"dataset/{version.name}",
        version=version.version,
        description=f"{version.rows:,} rows of {version.name}, target '{version.schema.target}'.",
        uri=version.uri if "://" in version.uri else f"file:{version.uri}",
        file_format="parquet",
        link=None if "://" in version.uri else ("file", version.uri),
        rows=version.rows,
        columns={column.name: column.kind for column in version.schema.columns},
    )


def _output(
    config: DataSourceConfig,
    namespace: str,
    version: DatasetVersion,
    profile: DataProfile | None,
    names: tuple[tuple[str, str], ...],
) -> LineageDataset:
    dataset = replace(dataset_lineage(version, namespace), profile=profile)
    if len(names) != 1:  # which table a query's column is of is not known
        return dataset
    origins = column_origins(config, version.schema.names, names[0])
    return replace(dataset, origins=origins, filters=row_filters(config, names[0]))


def _assertions(
    config: DataSourceConfig, findings: tuple[Finding, ...]
) -> tuple[LineageAssertion, ...]:
    """Every finding as a claim that failed, and every declared check without one as one that
    held."""
    failed = [
        LineageAssertion(
            found.check,
            False,
            found.column,
            "warn" if found.severity == "warn" else "error",
            found.message,
        )
        for found in findings
        if found.check != "config"  # a remark on loop.yaml, not on the data
    ]
    broken = {(found.check, found.column) for found in findings}
    held = [
        LineageAssertion(check, True, column)
        for check, column in _declared(config)
        if (check, column) not in broken
    ]
    return (*failed, *held)


def _declared(config: DataSourceConfig) -> Iterator[tuple[str, str | None]]:
    yield "min_rows", None
    for name, column in config.columns.items():
        for setting, check in _DECLARED.items():
            value = getattr(column, setting)
            # A minimum of 0 is one; 0 == False.
            unset = value is True if setting == "nullable" else value is None or value is False
            if not unset:
                yield check, name
    if config.checks.rules:
        yield "rule", None
