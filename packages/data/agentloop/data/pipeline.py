"""Ingestion: one batch from its source to a version that can be trained on."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np

from agentloop.contracts.data import BatchValidation, DataBatch, DataProfile, DatasetVersion
from agentloop.contracts.errors import DataQualityError, EmptySource, NothingNew, SchemaMismatch
from agentloop.contracts.spec import (
    NAME_PATTERN,
    CallableSource,
    DataSourceConfig,
    RemoteSpec,
    SqlSource,
)
from agentloop.data.arrow_extract import Extract
from agentloop.data.arrow_fit import Kept, complete, is_fitted
from agentloop.data.arrow_plan import Outlook, plan_scan
from agentloop.data.arrow_source import extract_source
from agentloop.data.arrow_stage import FAILING, Stage
from agentloop.data.batch import Accepted, ScanPlan, TransformedBatch
from agentloop.data.files import require_space, staging_folder, write_errors_told
from agentloop.data.lineage import ingest_lineage
from agentloop.data.profiler import DataProfiler
from agentloop.data.scan import is_small, scan_blocks, sealing
from agentloop.data.validator import DataValidator
from agentloop.data.version_store import VersionStore

LAST = "last"
TOLD_EVERY_S = 2.0
MAX_SCANS = 4


class DataIngestionPipeline:
    """Reads, checks, profiles and versions batches of one dataset.

    ``base_dir`` is where loop.yaml lies, ``home`` the state folder. Threads of this process scan a
    batch, Ray Data a large one where the connected cluster has processors that this machine lacks:
    ``ray_ready``, which connects, is called for a large batch, off the loop, before that is asked.
    ``on_progress`` is told, from another thread, how far a long batch is. Raises ValueError for a
    ``name`` that cannot name a dataset.
    """

    def __init__(
        self,
        source_config: DataSourceConfig,
        *,
        name: str = "dataset",
        base_dir: Path = Path("."),
        home: Path = Path(".agentloop"),
        ray_ready: Callable[[], None] | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> None:
        if not re.fullmatch(NAME_PATTERN, name):
            raise ValueError(f"dataset name {name!r} does not match {NAME_PATTERN}")
        self._config = source_config
        self._name = name
        self._base_dir = base_dir
        self._home = home
        self._ray_ready = ray_ready
        self._on_progress = on_progress or (lambda _: None)
        self._store = VersionStore(home / "data", name, _remote(source_config, base_dir))
        self._validator = DataValidator(source_config.checks)
        self._profiler = DataProfiler()

    async def ingest_batch(self, batch_id: str) -> DataBatch:
        """The batch as a version; the same content gives the same version again.

        Raises a DataError that says what is wrong with the source, DataQualityError once the
        rejected batch is in quarantine, DiskFull.
        """
        with ingest_lineage(
            self._config,
            name=self._name,
            base_dir=self._base_dir,
            home=self._home,
            batch_id=batch_id,
        ) as facts:
            raw = await self.extract_from_source()
            with staging_folder(self._store.staging, uuid4().hex) as staging:
                batch = await self.transform(raw, staging)
                facts.read(batch.kinds)
                profile = await self._profiler.profile(batch)
                validation = self._validator.report(batch, profile)
                facts.checked(profile, validation)
                if not validation.is_valid:
                    folder = await asyncio.to_thread(
                        self._store.quarantine, batch, validation, batch_id
                    )
                    raise DataQualityError(validation.errors, str(folder), validation.findings)
                version = await self.version_and_store(batch, profile, validation, batch_id)
                facts.kept(version)
        return DataBatch(batch_id, version, profile, validation)

    async def extract_from_source(self) -> Extract:
        """The source's rows, or their beginning where there are many. Needs no Ray."""
        return await asyncio.to_thread(self._extract)

    async def transform(self, raw: Extract, staging: Path) -> TransformedBatch:
        """Cast columns, apply the steps, check and summarise rows, in one pass; accepted rows and
        failing ones go to files in ``staging``."""
        return await asyncio.to_thread(self._transform, raw, staging)

    async def version_and_store(
        self,
        batch: TransformedBatch,
        profile: DataProfile,
        validation: BatchValidation,
        batch_id: str,
    ) -> DatasetVersion:
        """Keep the accepted rows as a version, and failing ones in quarantine."""
        return await asyncio.to_thread(self._keep, batch, profile, validation, batch_id)

    def _extract(self) -> Extract:
        since = self._since()
        try:
            return extract_source(self._config, self._base_dir, since=since)
        except EmptySource as error:
            if since is None or not isinstance(self._config.source, SqlSource | CallableSource):
                raise
            # These were asked for what is new, and had none.
            raise NothingNew(error.source, since) from None

    def _since(self) -> str | None:
        """``last`` resolved, so that no source has to know of the history."""
        since = self._config.source.since
        if since != LAST:
            return since
        last = self._store.last()
        return (last.latest_time or None) if last is not None else None

    def _transform(self, raw: Extract, staging: Path) -> TransformedBatch:
        history = self._history()
        since = self._since()
        outlook = plan_scan(raw, self._config, history, since)
        require_space(staging, raw.head.nbytes)
        if self._ray_ready is not None and not is_small(raw):
            self._ray_ready()
        batch = self._scan(outlook, raw, staging, history)
        if since and not batch.rows and not batch.tallies:
            raise NothingNew(raw.source, since)
        return batch

    def _scan(
        self, outlook: Outlook, raw: Extract, staging: Path, history: tuple[Accepted, ...]
    ) -> TransformedBatch:
        """One pass; more where steps are fitted and rows were set aside: then they are fitted anew
        without those rows, until the two agree."""
        kept: Kept = {}
        for _ in range(MAX_SCANS):
            plan = complete(outlook, raw, self._config, kept)
            notes = (*raw.notes, *outlook.notes)
            with (
                write_errors_told(staging, raw.head.nbytes),
                sealing(raw, plan.schema) as sealer,
                Stage(staging, plan, raw.source, sealer) as stage,
            ):
                self._fold(raw, plan, stage)
                batch = stage.finish(history, notes)
            if not is_fitted(outlook) or _equal(kept, stage.kept):
                return batch
            kept = stage.kept
            for path in staging.iterdir():
                path.unlink()
        raise SchemaMismatch(
            raw.source,
            ("what data.steps fit and which rows the checks set aside do not settle",),
            next_step="split by a column: data.split: {by: hash, column: ...}",
        )

    def _fold(self, raw: Extract, plan: ScanPlan, stage: Stage) -> None:
        told = time.monotonic()
        for block in scan_blocks(raw, plan):
            stage.add(block)
            if time.monotonic() - told > TOLD_EVERY_S:
                told = time.monotonic()
                self._on_progress(f"{stage.rows:,} rows read")

    def _history(self) -> tuple[Accepted, ...]:
        return self._store.history(self._config.checks.history)

    def _keep(
        self,
        batch: TransformedBatch,
        profile: DataProfile,
        validation: BatchValidation,
        batch_id: str,
    ) -> DatasetVersion:
        failing = batch.staging / FAILING
        if failing.exists():
            with staging_folder(self._store.staging, uuid4().hex) as aside:
                shutil.move(failing, aside / FAILING)
                self._store.quarantine(replace(batch, staging=aside), validation, batch_id)
        return self._store.keep(
            batch,
            profile,
            datetime.now(UTC).isoformat(timespec="seconds"),
            batch_id=batch_id,
            latest_time=batch.latest_time,
        )


def _remote(config: DataSourceConfig, base_dir: Path) -> RemoteSpec | None:
    """A folder is relative to loop.yaml, like every path in it."""
    remote = config.remote
    if remote is None or "://" in remote.url:
        return remote
    return remote.model_copy(update={"url": str((base_dir / remote.url).resolve())})


def _equal(a: Kept, b: Kept) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[place], b[place]) for place in a)
