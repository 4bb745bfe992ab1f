"""Versions: immutable, the same for the same content, whole or absent."""

from __future__ import annotations

import multiprocessing
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentloop.contracts import (
    BatchValidation,
    ColumnSchema,
    DataSchema,
    DatasetVersion,
    DiskFull,
    Finding,
    VersioningFailed,
)
from agentloop.data.arrow_stage import PART
from agentloop.data.batch import TransformedBatch
from agentloop.data.files import require_space, staging_folder, write_errors_told
from agentloop.data.profiler import build_profile
from agentloop.data.sketch import summarise_numbers
from agentloop.data.version_store import VersionStore
from agentloop.lifecycle.arrow_dataset import ContentHasher, read_columns

SCHEMA = DataSchema((ColumnSchema("y", "number"),), "y")
NOW = "2026-01-01T00:00:00+00:00"
Keep = Callable[..., DatasetVersion]


def batch_of(folder: Path, values: list[float]) -> TransformedBatch:
    table = pa.table({"y": values})
    pq.write_table(table, folder / PART)
    hasher = ContentHasher(SCHEMA)
    hasher.update(table)
    summary = summarise_numbers(np.array(values), 0)
    digest, rows = hasher.hexdigest(), len(values)
    return TransformedBatch("rows", SCHEMA, folder, digest, rows, 0, 0, {}, {"y": summary})


def keep_rows(data_dir: Path, values: list[float], name: str = "demo") -> DatasetVersion:
    store = VersionStore(data_dir, name)
    with staging_folder(store.staging, f"{values[0]:g}") as staging:
        batch = batch_of(staging, values)
        return store.keep(batch, build_profile(batch), NOW)


def git(data_dir: Path, *arguments: str) -> list[str]:
    command = ["git", "-C", str(data_dir / "repo"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_a_version_is_read_back_tagged_and_pushed(tmp_path: Path) -> None:
    version = keep_rows(tmp_path, [1.0, 2.0])
    assert read_columns(version)["y"].tolist() == [1.0, 2.0]
    assert git(tmp_path, "tag") == [f"demo/{version.version}"]
    assert git(tmp_path, "rev-parse", "HEAD") == [version.revision]
    assert git(tmp_path, "status", "--porcelain") == []
    pushed = [p.read_bytes() for p in (tmp_path / "remote").rglob("*") if p.is_file()]
    assert (Path(version.uri) / PART).read_bytes() in pushed


def test_the_same_content_is_the_same_version(tmp_path: Path) -> None:
    first = keep_rows(tmp_path, [1.0, 2.0])
    assert keep_rows(tmp_path, [1.0, 2.0]) == first
    assert len(git(tmp_path, "log", "--format=%h")) == 1


def test_older_versions_stay_readable_and_may_come_back(tmp_path: Path) -> None:
    first, second = keep_rows(tmp_path, [1.0]), keep_rows(tmp_path, [2.0])
    assert read_columns(first)["y"].tolist() == [1.0]
    assert keep_rows(tmp_path, [1.0]) == first
    last = VersionStore(tmp_path, "demo").last()
    assert last is not None
    assert last.version == first.version != second.version


def test_datasets_share_a_repository(tmp_path: Path) -> None:
    keep_rows(tmp_path, [1.0], "one")
    keep_rows(tmp_path, [1.0], "two")
    assert [tag.split("/")[0] for tag in git(tmp_path, "tag")] == ["one", "two"]


def test_a_damaged_version_is_mended_by_the_same_content(tmp_path: Path) -> None:
    version = keep_rows(tmp_path, [1.0, 2.0])
    part = Path(version.uri) / PART
    part.chmod(0o644)
    part.write_bytes(b"damaged")
    mended = keep_rows(tmp_path, [1.0, 2.0])
    assert mended == version
    assert read_columns(mended)["y"].tolist() == [1.0, 2.0]


def test_two_processes_take_turns(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    others = [spawn.Process(target=keep_rows, args=(tmp_path, [float(n)])) for n in (1, 2)]
    for other in others:
        other.start()
    for other in others:
        other.join(60)
    assert [other.exitcode for other in others] == [0, 0]
    assert len(git(tmp_path, "tag")) == len(git(tmp_path, "log", "--format=%h")) == 2


def test_a_rejected_batch_is_set_aside_with_its_reasons(tmp_path: Path) -> None:
    store = VersionStore(tmp_path, "demo")
    validation = BatchValidation(False, (Finding("range", "reject", "y", 1, "one row is bad"),))
    for batch_id in ("monday", "monday", "../../etc"):
        with staging_folder(store.staging, "x") as staging:
            folder = store.quarantine(batch_of(staging, [1.0]), validation, batch_id)
        assert folder.parent == tmp_path / "quarantine" / "demo"
        assert "one row is bad" in (folder / "reasons.json").read_text()
        assert (folder / PART).is_file()
    assert list((tmp_path / "staging").iterdir()) == []
    assert store.last() is None


def test_the_user_s_git_settings_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[commit]\n\tgpgsign = true\n[user]\n\tuseConfigOnly = true\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    version = keep_rows(tmp_path / "data", [1.0])
    assert not (tmp_path / "elsewhere").exists()
    assert len(version.revision) == 40


def test_missing_git_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VersioningFailed, match="git is not installed"):
        keep_rows(tmp_path / "data", [1.0])
    assert VersionStore(tmp_path / "data", "demo").last() is None


def test_a_remote_that_cannot_be_written_is_told_and_mended(tmp_path: Path) -> None:
    keep_rows(tmp_path, [1.0])
    (tmp_path / "remote").rename(tmp_path / "away")
    (tmp_path / "remote").write_text("")
    with pytest.raises(VersioningFailed):
        keep_rows(tmp_path, [2.0])
    last = VersionStore(tmp_path, "demo").last()
    assert last is not None
    assert last.version == git(tmp_path, "tag")[0].split("/")[1]
    (tmp_path / "remote").unlink()
    (tmp_path / "away").rename(tmp_path / "remote")
    assert read_columns(keep_rows(tmp_path, [2.0]))["y"].tolist() == [2.0]


def test_a_full_disk_is_told() -> None:
    with pytest.raises(DiskFull), write_errors_told(Path("/dev")), open("/dev/full", "w") as full:
        full.write("x")
    with pytest.raises(DiskFull, match="MB are needed"):
        require_space(Path("/dev"), 1 << 60)


def test_a_home_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(VersioningFailed, match="make that folder writable"):
        keep_rows(tmp_path / "data", [1.0])


def test_staging_of_dead_processes_goes(tmp_path: Path) -> None:
    dead = multiprocessing.get_context("spawn").Process(target=print)
    dead.start()
    dead.join()
    (tmp_path / f"{dead.pid}-left").mkdir()
    with staging_folder(tmp_path, "x") as folder:
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []
