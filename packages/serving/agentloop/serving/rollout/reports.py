"""Signed reports as files of the state folder."""

from __future__ import annotations

import json
from pathlib import Path

from agentloop.contracts.codec import from_dict
from agentloop.contracts.errors import ArtifactUnverified
from agentloop.contracts.models import ModelVersion, SignedReport
from agentloop.serving.ports import ReportLoader


def report_path(home: Path, model: str, version: str) -> Path:
    """Where the gate leaves the signed report of a version."""
    return home / "reports" / model / f"{version}.json"


def report_loader(home: Path) -> ReportLoader:
    """Reads reports of ``home``; raises OSError for a missing one, ArtifactUnverified for one that
    cannot be read."""

    def load(mv: ModelVersion) -> SignedReport:
        path = report_path(home, mv.model, mv.version)
        text = path.read_text(encoding="utf-8")
        try:
            return from_dict(SignedReport, json.loads(text))
        except ValueError:
            raise ArtifactUnverified(str(path), "it is not a signed report") from None

    return load
