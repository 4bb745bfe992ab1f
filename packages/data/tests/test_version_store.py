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


def keep_rows(
    data_dir: Path, values: list[float], name: str = "demo", batch_id: str = "b"
) -> DatasetVersion:
    store = VersionStore(data_dir, name)
    with staging_folder(store.staging, f"{values[0]:g}") as staging:
        batch = batch_of(staging, values)
        return store.keep(batch, build_profile(batch), NOW, batch_id=batch_id)


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


def test_a_version_knows_the_one_before_its_batch_and_its_source(tmp_path: Path) -> None:
    first = keep_rows(tmp_path, [1.0], batch_id="monday")
    second = keep_rows(tmp_path, [2.0], batch_id="tuesday")
    assert (first.parent, first.batch_id, first.source) == ("", "monday", "rows")
    assert (second.parent, second.batch_id) == (first.version, "tuesday")
    assert VersionStore(tmp_path, "demo").find(second.version) == second


def test_the_log_has_every_acceptance_and_a_retry_once(tmp_path: Path) -> None:
    first, second = keep_rows(tmp_path, [1.0]), keep_rows(tmp_path, [2.0, 3.0])
    for batch_id in ("b", "retried", "retried"):
        keep_rows(tmp_path, [1.0], batch_id=batch_id)
    store = VersionStore(tmp_path, "demo")
    assert [(a.version, a.batch_id, a.parent, a.rows, a.columns) for a in store.log()] == [
        (first.version, "b", "", 1, 1),
        (second.version, "b", first.version, 2, 1),
        (first.version, "b", second.version, 1, 1),
        (first.version, "retried", "", 1, 1),
    ]
    assert [a.version for a in store.history(5)] == [first.version, second.version]
    assert [a.version for a in store.history(1)] == [first.version]


def test_a_line_that_was_never_accepted_goes(tmp_path: Path) -> None:
    keep_rows(tmp_path, [1.0])
    with (tmp_path / "versions" / "demo" / "log.jsonl").open("a") as log:
        log.write('{"torn')
    store = VersionStore(tmp_path, "demo")
    assert len(store.log()) == 1
    keep_rows(tmp_path, [2.0])
    assert [accepted.rows for accepted in store.log()] == [1, 1]


def test_rows_are_stored_once_beside_the_remote_and_read_only(tmp_path: Path) -> None:
    version = keep_rows(tmp_path, [1.0, 2.0])
    part = Path(version.uri) / PART
    found = [p for p in tmp_path.rglob("*") if p.is_file() and p.samefile(part)]
    assert {p.relative_to(tmp_path).parts[0] for p in found} == {"versions", "repo"}
    assert len(found) == part.stat().st_nlink == 3
    assert part.stat().st_mode & 0o777 == 0o444
    (twin,) = [p for p in (tmp_path / "remote").rglob("*") if _same_bytes(p, part)]
    assert twin.stat().st_nlink == 1


def _same_bytes(path: Path, other: Path) -> bool:
    return path.is_file() and path.read_bytes() == other.read_bytes()


def test_no_keep_writes_through_a_link(tmp_path: Path) -> None:
    first = keep_rows(tmp_path, [1.0, 2.0])
    before = (Path(first.uri) / PART).stat()
    for values in ([3.0], [4.0], [1.0, 2.0], [5.0]):
        keep_rows(tmp_path, values)
    after = (Path(first.uri) / PART).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert read_columns(first)["y"].tolist() == [1.0, 2.0]


def test_a_part_that_two_datasets_share_is_stored_once(tmp_path: Path) -> None:
    one, two = keep_rows(tmp_path, [1.0], "one"), keep_rows(tmp_path, [1.0], "two")
    assert (Path(one.uri) / PART).samefile(Path(two.uri) / PART)


def test_a_damaged_object_of_the_cache_does_not_get_into_a_version(tmp_path: Path) -> None:
    one = keep_rows(tmp_path, [1.0], "one")
    with (Path(one.uri) / PART).open("r+b") as part:  # through the link, as root may
        part.write(b"damaged")
    two = keep_rows(tmp_path, [1.0], "two")
    assert read_columns(two)["y"].tolist() == [1.0]


def test_a_version_of_an_older_layout_is_still_the_last(tmp_path: Path) -> None:
    version = keep_rows(tmp_path, [1.0])
    folder = tmp_path / "versions" / "demo"
    (folder / "log.jsonl").unlink()
    (folder / "latest.json").write_text(f'{{"version":"{version.version}"}}')
    store = VersionStore(tmp_path, "demo")
    last = store.last()
    assert last is not None
    assert [a.version for a in store.history(3)] == [last.version] == [version.version]
    assert keep_rows(tmp_path, [2.0]).parent == version.version


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
