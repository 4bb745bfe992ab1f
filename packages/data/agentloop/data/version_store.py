"""Where accepted and rejected batches are kept.

versions/<name>/<version>/   rows, schema.json, profile.json, profile.html, version.json; immutable,
                             there whole or not at all
versions/<name>/log.jsonl, latest.json   what was accepted, in order (``history``)
quarantine/<name>/<batch>/   rejected or failing rows, with reasons.json and report.html
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentloop.contracts.codec import canonical_json, from_dict, to_dict
from agentloop.contracts.data import BatchValidation, DataProfile, DatasetVersion
from agentloop.data.batch import Accepted, TransformedBatch
from agentloop.data.dvc_repo import DvcRepo
from agentloop.data.files import READ_ONLY, locked, replace_folder, write_errors_told
from agentloop.data.history import Acceptance, VersionLog, distinct
from agentloop.data.profile_html import render_profile
from agentloop.data.profiler import build_profile

if TYPE_CHECKING:
    from agentloop.contracts.spec_data import RemoteSpec

VERSION_LENGTH = 12
RECORD = "version.json"
PARTS = "part-*.parquet"
_SAFE_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")


class VersionStore:
    """The versions of dataset ``name`` under ``data_dir``; safe for several processes.

    New versions are pushed to ``remote``, by default a folder in ``data_dir``; those pushed
    elsewhere before stay there, and are found there.
    """

    def __init__(self, data_dir: Path, name: str, remote: RemoteSpec | None = None) -> None:
        self._data_dir = data_dir.resolve()
        self._name = name
        self._remote = remote
        self._versions = self._data_dir / "versions" / name
        self._log = VersionLog(self._versions)

    @property
    def staging(self) -> Path:
        return self._data_dir / "staging"

    def log(self) -> tuple[Acceptance, ...]:
        """Every acceptance, oldest first."""
        return self._log.read()

    def last(self) -> Accepted | None:
        """The version accepted last, if any."""
        version = self._log.latest()
        return self._accepted(version, self._latest_times()) if version else None

    def history(self, limit: int) -> tuple[Accepted, ...]:
        """Up to ``limit`` different versions, that accepted last first."""
        times = self._latest_times()
        versions = distinct(self.log()) or (self._log.latest(),)
        found = (self._accepted(version, times) for version in versions[:limit] if version)
        return tuple(accepted for accepted in found if accepted)

    def find(self, version: str) -> DatasetVersion | None:
        """A finished version, if there is one of that name."""
        folder = self._versions / version
        record = _read_json(folder / RECORD)
        # The state folder may have been moved since.
        return record and from_dict(DatasetVersion, {**record, "uri": str(folder)})

    def profile(self, version: str) -> DataProfile | None:
        """The profile of a version, if it is there."""
        profile = _read_json(self._versions / version / "profile.json")
        return profile and from_dict(DataProfile, profile)

    def keep(
        self,
        batch: TransformedBatch,
        profile: DataProfile,
        created_at: str,
        *,
        batch_id: str = "",
        latest_time: str = "",
    ) -> DatasetVersion:
        """The version with the batch's content: a new one, or the one there is; then the latest.

        Idempotent: a call after a kill at any point ends with one whole version, accepted once.
        Raises DiskFull, VersioningFailed.
        """
        version = batch.content_hash[:VERSION_LENGTH]
        final = self._versions / version
        size = sum(path.stat().st_size for path in batch.staging.iterdir())
        before = DatasetVersion(
            self._name,
            version,
            batch.content_hash,
            batch.rows,
            str(final),
            batch.schema,
            "",
            created_at,
            batch.source,
            "",
            batch_id,
            latest_time,
        )
        with (
            locked(self._data_dir / ".lock") as lock,
            write_errors_told(self._data_dir, 2 * size),
        ):
            parent = self._log.latest()
            wanted = replace(before, parent="" if parent == version else parent)
            known = self._known(batch.staging, final)
            record = known or self._add(batch.staging, wanted, profile, lock)
            self._log.append(_acceptance(wanted, record.revision, final))
        return record

    def quarantine(
        self, batch: TransformedBatch, validation: BatchValidation, batch_id: str
    ) -> Path:
        """Set the staged rows aside, with the findings as reasons, and a page of both. Raises
        DiskFull."""
        folder = self._data_dir / "quarantine" / self._name / _folder_name(batch_id)
        with locked(self._data_dir / ".lock"), write_errors_told(self._data_dir):
            reasons = {"batch": batch_id, "source": batch.source, **to_dict(validation)}
            text = json.dumps(reasons, indent=2, ensure_ascii=False)
            (batch.staging / "reasons.json").write_text(text + "\n", encoding="utf-8")
            page = render_profile(self._name, build_profile(batch), validation.findings, batch_id)
            (batch.staging / "report.html").write_text(page, encoding="utf-8")
            replace_folder(batch.staging, folder)
        return folder

    def _accepted(self, version: str, times: dict[str, str]) -> Accepted | None:
        found, profile = self.find(version), self.profile(version)
        if found is None or profile is None:
            return None
        return Accepted(version, found.schema, profile, times.get(version, found.latest_time))

    def _latest_times(self) -> dict[str, str]:
        return {accepted.version: accepted.latest_time for accepted in self.log()}

    def _known(self, staging: Path, final: Path) -> DatasetVersion | None:
        """The finished version at ``final``, if its rows are still those just staged."""
        parts = sorted(path.name for path in staging.glob(PARTS))
        if parts != sorted(path.name for path in final.glob(PARTS)):
            return None
        if not all(filecmp.cmp(staging / part, final / part, shallow=False) for part in parts):
            return None
        return self.find(final.name)

    def _add(
        self, staging: Path, version: DatasetVersion, profile: DataProfile, lock: int
    ) -> DatasetVersion:
        """Record, push, and only then show a version under its name."""
        texts = {
            "schema": _pretty(to_dict(version.schema)),
            "profile": _pretty(to_dict(profile)),
            "version": _pretty(_pinned(version)),
        }
        revision = DvcRepo(self._data_dir, lock).record(
            self._name, version.version, staging, texts, self._remote
        )
        record = replace(version, revision=revision)
        texts["version"] = canonical_json(to_dict(record))
        for noun, text in texts.items():
            (staging / f"{noun}.json").write_text(text, encoding="utf-8")
        page = render_profile(self._name, profile, version=version.version)
        (staging / "profile.html").write_text(page, encoding="utf-8")
        for path in staging.iterdir():
            path.chmod(READ_ONLY)
        replace_folder(staging, Path(version.uri))
        return record


def _acceptance(version: DatasetVersion, revision: str, folder: Path) -> Acceptance:
    return Acceptance(
        version.name,
        version.version,
        version.created_at,
        version.rows,
        len(version.schema.columns),
        sum(path.stat().st_size for path in folder.glob(PARTS)),
        revision,
        version.source,
        version.parent,
        version.batch_id,
        version.latest_time,
    )


def _pinned(version: DatasetVersion) -> dict[str, Any]:
    """What git holds of a version: neither its own commit nor where its folder is."""
    fields = to_dict(version)
    return {name: fields[name] for name in fields if name not in ("uri", "revision")}


def _read_json(path: Path) -> Any:
    """None for a file that is not there, or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _folder_name(batch_id: str) -> str:
    """The batch's id where it can name a folder, else a hash of it."""
    if _SAFE_ID.fullmatch(batch_id):
        return batch_id
    return hashlib.sha256(batch_id.encode()).hexdigest()[:16]
