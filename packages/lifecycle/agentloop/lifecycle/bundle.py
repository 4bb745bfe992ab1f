"""The model bundle: the folder that is registered, validated and served, sealed by hashes.

model.onnx              input ``features`` float32 (rows, width) → output ``scores`` float32
                        (rows, classes) probabilities, or (rows, 1) values for regression
features.json           FeaturePipeline
signature.json          Signature
reference_profile.json  ReferenceProfile
holdout.parquet         the test split: raw feature columns and the target
manifest.json           sha256 of every other file; its own sha256 is the bundle's digest
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from agentloop.contracts.codec import canonical_json, from_dict, to_dict
from agentloop.contracts.errors import ArtifactUnverified
from agentloop.contracts.models import Task
from agentloop.lifecycle.features import FeaturePipeline
from agentloop.lifecycle.reference import ReferenceProfile

MODEL = "model.onnx"
FEATURES = "features.json"
SIGNATURE = "signature.json"
REFERENCE = "reference_profile.json"
HOLDOUT = "holdout.parquet"
MANIFEST = "manifest.json"
REQUIRED = (MODEL, FEATURES, SIGNATURE, REFERENCE)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class InputColumn:
    """A raw column of a request: ``datatype`` in the Open Inference Protocol's words
    (FP64 for numbers, BYTES for categories)."""

    name: str
    datatype: str


@dataclass(frozen=True, slots=True)
class Signature:
    """What a request holds and what an answer means. ``classes`` is empty for regression."""

    model: str
    task: Task
    inputs: tuple[InputColumn, ...]
    target: str
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """A verified bundle on disk."""

    path: Path
    digest: str
    features: FeaturePipeline
    signature: Signature
    reference: ReferenceProfile

    @property
    def model_path(self) -> Path:
        return self.path / MODEL

    @property
    def holdout_path(self) -> Path:
        return self.path / HOLDOUT


def write_noun(folder: Path, name: str, noun: Any) -> None:
    """Write a frozen noun as canonical JSON."""
    (folder / name).write_text(canonical_json(to_dict(noun)), encoding="utf-8")


def seal_bundle(folder: Path) -> str:
    """Write the manifest over every file in ``folder``; return the bundle's digest (hex).

    Raises ArtifactUnverified if a required file is missing.
    """
    missing = [name for name in REQUIRED if not (folder / name).is_file()]
    if missing:
        raise ArtifactUnverified(str(folder), f"it has no {', '.join(missing)}")
    files = {
        str(path.relative_to(folder)): _sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    text = canonical_json({"files": files})
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


def open_bundle(folder: Path, digest: str | None = None) -> ModelBundle:
    """Verify every file against the manifest, and the manifest against ``digest``.

    Raises ArtifactUnverified for a file that is missing, changed or not listed.
    """
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        files: dict[str, str] = dict(json.loads(text)["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactUnverified(str(folder), f"its manifest cannot be read ({error})") from None
    sealed = hashlib.sha256(text.encode()).hexdigest()
    if digest is not None and sealed != digest:
        raise ArtifactUnverified(str(folder), "its digest is not the registered one")
    for name in REQUIRED:
        if name not in files:
            raise ArtifactUnverified(str(folder), f"its manifest does not list {name}")
    for name, expected in files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
            raise ArtifactUnverified(str(folder), f"{name} is missing")
        if _sha256(path) != expected:
            raise ArtifactUnverified(str(folder), f"{name} was changed after it was sealed")
    return ModelBundle(
        path=folder,
        digest=sealed,
        features=_read_noun(folder, FEATURES, FeaturePipeline),
        signature=_read_noun(folder, SIGNATURE, Signature),
        reference=_read_noun(folder, REFERENCE, ReferenceProfile),
    )


def _read_noun(folder: Path, name: str, cls: type[T]) -> T:
    try:
        return from_dict(cls, json.loads((folder / name).read_text(encoding="utf-8")))
    except ValueError as error:
        first = str(error).splitlines()[0]
        raise ArtifactUnverified(str(folder), f"{name} is not valid ({first})") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
