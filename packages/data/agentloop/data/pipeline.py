"""Ingestion: one batch from its source to a version that can be trained on."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from agentloop.contracts.data import BatchValidation, DataBatch, DataProfile, DatasetVersion
from agentloop.contracts.errors import DataQualityError
from agentloop.contracts.spec import NAME_PATTERN, DataSourceConfig
from agentloop.data.arrow_plan import plan_scan
from agentloop.data.arrow_source import Extract, extract_source
from agentloop.data.arrow_stage import FAILING, Stage
from agentloop.data.batch import TransformedBatch
from agentloop.data.files import require_space, staging_folder, write_errors_told
from agentloop.data.profiler import DataProfiler
from agentloop.data.ray_scan import scan_blocks
from agentloop.data.validator import DataValidator
from agentloop.data.version_store import VersionStore


class DataIngestionPipeline:
    """Reads, checks, profiles and versions batches of one dataset.

    ``base_dir`` is where loop.yaml lies, ``home`` the state folder. ``ray_ready`` is called once,
    off the event loop, right before Ray is first needed; without it a local Ray is started if
    none is connected. Raises ValueError for a ``name`` that cannot name a dataset.
    """

    def __init__(
        self,
        source_config: DataSourceConfig,
        *,
        name: str = "dataset",
        base_dir: Path = Path("."),
        home: Path = Path(".agentloop"),
        ray_ready: Callable[[], None] | None = None,
    ) -> None:
        if not re.fullmatch(NAME_PATTERN, name):
            raise ValueError(f"dataset name {name!r} does not match {NAME_PATTERN}")
        self._config = source_config
        self._base_dir = base_dir
        self._ray_ready = ray_ready
        self._store = VersionStore(home / "data", name)
        self._validator = DataValidator(source_config.checks)
        self._profiler = DataProfiler()

    async def ingest_batch(self, batch_id: str) -> DataBatch:
        """The batch as a version; the same content gives the same version again.

        Raises a DataError that says what is wrong with the source, DataQualityError once the
        rejected batch is in quarantine, DiskFull.
        """
        raw = await self.extract_from_source()
        with staging_folder(self._store.staging, uuid4().hex) as staging:
            batch = await self.transform(raw, staging)
            is_valid, errors = await self._validator.validate(batch)
            validation = self._validator.report(batch)
            if not is_valid:
                folder = await asyncio.to_thread(
                    self._store.quarantine, batch, validation, batch_id
                )
                raise DataQualityError(errors, str(folder))
            profile = await self._profiler.profile(batch)
            version = await self.version_and_store(batch, profile, validation, batch_id)
        return DataBatch(batch_id, version, profile, validation)

    async def extract_from_source(self) -> Extract:
        """The source's rows, or their beginning where there are many. Needs no Ray."""
        return await asyncio.to_thread(extract_source, self._config, self._base_dir)

    async def transform(self, raw: Extract, staging: Path) -> TransformedBatch:
        """Drop and cast columns, check and summarise rows, in one pass of Ray Data; accepted and
        failing rows go to files in ``staging``."""
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

    def _transform(self, raw: Extract, staging: Path) -> TransformedBatch:
        last = self._store.last()
        plan, notes = plan_scan(raw, self._config, last)
        size = max(raw.head.nbytes, sum(path.stat().st_size for path in raw.files))
        require_space(staging, size)
        with write_errors_told(staging, size), Stage(staging, plan, raw.source) as stage:
            for block in scan_blocks(raw, plan, self._config, self._ray_ready):
                stage.add(block)
            return stage.finish(last, notes)

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
        return self._store.keep(batch, profile, datetime.now(UTC).isoformat(timespec="seconds"))
