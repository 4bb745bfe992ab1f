"""A kept version as a folder of one's own: bit for bit, whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agentloop.contracts.codec import canonical_json, from_dict, to_dict
from agentloop.contracts.data import DatasetVersion
from agentloop.data.checkout_failed import CheckoutFailed
from agentloop.data.dvc_repo import DvcRepo
from agentloop.data.files import alive, locked, write_errors_told
from agentloop.data.git_repo import GitRepo
from agentloop.data.pinned import pinned_version
from agentloop.data.profile_html import render_profile
from agentloop.data.version_store import PARTS, RECORD, VersionStore
from agentloop.lifecycle.arrow_dataset import ContentHasher

_WRITTEN = ("schema.json", "profile.json", "profile.html", RECORD)


@dataclass(frozen=True, slots=True)
class Checkout:
    """A version's files in ``folder``, and whence: its own folder, DVC, or there already."""

    version: DatasetVersion
    folder: str
    origin: Literal["versions", "dvc", "there"]
    files: int
    size_bytes: int


def checkout_version(data_dir: Path, name: str, version: str, folder: Path) -> Checkout:
    """Put ``version`` of dataset ``name`` into ``folder``, which is absent or empty or is that
    version already.

    Its content hash is verified first; a kill leaves nothing in ``folder``. Raises CheckoutFailed,
    DiskFull.
    """
    folder = folder.expanduser().resolve()
    store = VersionStore(data_dir, name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        return _already_there(store, version, folder)
    with write_errors_told(folder.parent), _partial(folder) as partial:
        found = _from_versions(store, version, partial)
        origin: Literal["versions", "dvc"] = "versions" if found else "dvc"
        found = found or _from_dvc(data_dir, name, version, partial)
        partial.rename(folder)
    return _checkout(found, folder, origin)


def holds(folder: Path, version: DatasetVersion) -> bool:
    """Whether the rows in ``folder`` are those of ``version``, by its content hash; row group by
    row group, so that memory does not depend on the rows."""
    import pyarrow.parquet as pq

    hasher = ContentHasher(version.schema)
    try:
        for part in sorted(folder.glob(PARTS)):
            with pq.ParquetFile(part) as file:
                for group in range(file.num_row_groups):
                    hasher.update(file.read_row_group(group).select(list(version.schema.names)))
    except (OSError, ValueError, KeyError):
        return False
    return hasher.hexdigest() == version.content_hash


def _checkout(
    version: DatasetVersion, folder: Path, origin: Literal["versions", "dvc", "there"]
) -> Checkout:
    sizes = [path.stat().st_size for path in folder.iterdir()]
    return Checkout(version, str(folder), origin, len(sizes), sum(sizes))


def _already_there(store: VersionStore, version: str, folder: Path) -> Checkout:
    record = _record(folder)
    known = store.find(version) or record
    if record and known and record.version == version and holds(folder, known):
        names = {path.name for path in folder.iterdir() if not path.match(PARTS)}
        if names == set(_WRITTEN):
            return _checkout(known, folder, "there")
    raise CheckoutFailed(
        f"{folder} is not empty, and is not that version",
        next_step="name a folder that is empty or not there",
    )


def _from_versions(store: VersionStore, version: str, partial: Path) -> DatasetVersion | None:
    """Copy a version's own folder; None, and nothing copied, if it is not intact."""
    record = store.find(version)
    if record is None:
        return None
    source = Path(record.uri)
    try:
        for path in [*sorted(source.glob(PARTS)), *(source / name for name in _WRITTEN)]:
            shutil.copyfile(path, partial / path.name)
        if holds(partial, record):
            return record
    except FileNotFoundError:
        pass
    for path in partial.iterdir():
        path.unlink()
    return None


def _from_dvc(data_dir: Path, name: str, version: str, partial: Path) -> DatasetVersion:
    root = data_dir.resolve()
    uri = str(root / "versions" / name / version)
    with locked(root / ".lock") as lock:
        record, profile = pinned_version(GitRepo(root / "repo", lock), name, version, uri)
        texts = {**DvcRepo(root, lock).restore(name, version, partial)}
    texts["version"] = canonical_json(to_dict(record))
    for noun, text in texts.items():
        (partial / f"{noun}.json").write_text(text, encoding="utf-8")
    page = render_profile(name, profile, version=record.version)
    (partial / "profile.html").write_text(page, encoding="utf-8")
    if not holds(partial, record):
        raise CheckoutFailed(
            f"what DVC has of {name}/{version} is not what was stored",
            next_step="ingest the same data again",
        )
    return record


def _record(folder: Path) -> DatasetVersion | None:
    try:
        value: Any = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return from_dict(DatasetVersion, value)
    except (OSError, ValueError):
        return None


@contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    """A folder beside ``folder``, gone afterwards unless it was renamed; those that killed
    checkouts left go too."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    ours = re.compile(re.escape(f".{folder.name}.") + r"(\d+)\.partial")
    for other in folder.parent.iterdir():
        if (found := ours.fullmatch(other.name)) and not alive(int(found[1])):
            shutil.rmtree(other, ignore_errors=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
