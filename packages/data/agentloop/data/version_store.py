"""Where accepted and rejected batches are kept.

versions/<name>/<version>/   rows, schema.json, profile.json, profile.html; immutable
  version.json               written last: without it the version does not exist yet
versions/<name>/latest.json  the version that was accepted last
quarantine/<name>/<batch>/   rejected or failing rows, with reasons.json
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from agentloop.contracts.codec import canonical_json, from_dict, to_dict
from agentloop.contracts.data import BatchValidation, DataProfile, DatasetVersion
from agentloop.data.batch import Accepted, TransformedBatch
from agentloop.data.dvc_repo import DvcRepo
from agentloop.data.files import locked, replace_folder, write_atomically, write_errors_told
from agentloop.data.profile_html import render_profile

VERSION_LENGTH = 12
RECORD = "version.json"
_SAFE_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")


class VersionStore:
    """The versions of dataset ``name`` under ``data_dir``; safe for several processes."""

    def __init__(self, data_dir: Path, name: str) -> None:
        self._data_dir = data_dir.resolve()
        self._name = name
        self._versions = self._data_dir / "versions" / name
        self._repo = DvcRepo(self._data_dir)

    @property
    def staging(self) -> Path:
        return self._data_dir / "staging"

    def last(self) -> Accepted | None:
        """The version accepted last, if any."""
        latest = _read_json(self._versions / "latest.json")
        if latest is None:
            return None
        version = self.find(latest["version"])
        profile = _read_json(self._versions / latest["version"] / "profile.json")
        if version is None or profile is None:
            return None
        return Accepted(version.version, version.schema, from_dict(DataProfile, profile))

    def find(self, version: str) -> DatasetVersion | None:
        """A finished version, if there is one of that name."""
        folder = self._versions / version
        record = _read_json(folder / RECORD)
        # The state folder may have been moved since.
        return record and from_dict(DatasetVersion, {**record, "uri": str(folder)})

    def keep(
        self, batch: TransformedBatch, profile: DataProfile, created_at: str
    ) -> DatasetVersion:
        """The version with the batch's content: a new one, or the one there is.

        Idempotent: a call after a kill at any point ends with one whole version. Raises DiskFull,
        VersioningFailed.
        """
        version = batch.content_hash[:VERSION_LENGTH]
        final = self._versions / version
        size = sum(path.stat().st_size for path in batch.staging.iterdir())
        with locked(self._data_dir / ".lock"), write_errors_told(self._data_dir, 4 * size):
            record = self._known(batch.staging, final)
            if record is None:
                self._describe(batch, profile)
                replace_folder(batch.staging, final)
                for path in final.iterdir():
                    path.chmod(0o444)
                revision = self._repo.record(self._name, version, final)
                record = DatasetVersion(
                    self._name,
                    version,
                    batch.content_hash,
                    batch.rows,
                    str(final),
                    batch.schema,
                    revision,
                    created_at,
                )
                write_atomically(final / RECORD, canonical_json(to_dict(record)))
            write_atomically(self._versions / "latest.json", canonical_json({"version": version}))
        return record

    def quarantine(
        self, batch: TransformedBatch, validation: BatchValidation, batch_id: str
    ) -> Path:
        """Set the staged rows aside, with the findings as reasons. Raises DiskFull."""
        folder = self._data_dir / "quarantine" / self._name / _folder_name(batch_id)
        with locked(self._data_dir / ".lock"), write_errors_told(self._data_dir):
            reasons = {"batch": batch_id, "source": batch.source, **to_dict(validation)}
            text = json.dumps(reasons, indent=2, ensure_ascii=False)
            (batch.staging / "reasons.json").write_text(text + "\n", encoding="utf-8")
            replace_folder(batch.staging, folder)
        return folder

    def _known(self, staging: Path, final: Path) -> DatasetVersion | None:
        """The finished version at ``final``, if its rows are still those just staged."""
        for part in staging.glob("part-*.parquet"):
            stored = final / part.name
            if not stored.is_file() or not filecmp.cmp(part, stored, shallow=False):
                return None
        return self.find(final.name)

    def _describe(self, batch: TransformedBatch, profile: DataProfile) -> None:
        texts = {
            "schema.json": _pretty(to_dict(batch.schema)),
            "profile.json": _pretty(to_dict(profile)),
            "profile.html": render_profile(self._name, profile),
        }
        for name, text in texts.items():
            (batch.staging / name).write_text(text, encoding="utf-8")


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
