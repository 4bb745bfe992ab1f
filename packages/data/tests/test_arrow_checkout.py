"""A version as a folder of one's own."""

from __future__ import annotations

import filecmp
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentloop.contracts import ColumnSchema, DataProfile, DataSchema, DatasetVersion
from agentloop.data.arrow_checkout import checkout_version, holds
from agentloop.data.batch import TransformedBatch
from agentloop.data.checkout_failed import CheckoutFailed
from agentloop.data.dvc_versions import push_all
from agentloop.data.files import staging_folder
from agentloop.data.pinned import find_version
from agentloop.data.version_store import VersionStore
from agentloop.lifecycle.arrow_dataset import ContentHasher

SCHEMA = DataSchema((ColumnSchema("y", "number"),), "y")


def keep(data_dir: Path, rows: int) -> DatasetVersion:
    table = pa.table({"y": [float(row) for row in range(rows)]})
    hasher = ContentHasher(SCHEMA)
    hasher.update(table)
    store = VersionStore(data_dir, "demo")
    with staging_folder(store.staging, "x") as staging:
        for part in range(3):
            pq.write_table(table.slice(part * 10, 10), staging / f"part-{part:05d}.parquet")
        digest = hasher.hexdigest()
        batch = TransformedBatch("rows", SCHEMA, staging, digest, rows, 0, 0, {}, {})
        return store.keep(batch, DataProfile(rows, ()), "2026-01-01", batch_id="b")


def same(folder: Path, other: Path) -> bool:
    names = sorted(path.name for path in folder.iterdir())
    return names == sorted(path.name for path in other.iterdir()) and all(
        filecmp.cmp(folder / name, other / name, shallow=False) for name in names
    )


def test_a_checkout_is_bit_for_bit_and_can_be_written_to(tmp_path: Path) -> None:
    version = keep(tmp_path / "data", 30)
    done = checkout_version(tmp_path / "data", "demo", version.version, tmp_path / "a" / "out")
    out = Path(done.folder)
    assert done.origin == "versions"
    assert same(out, Path(version.uri))
    assert all(not path.samefile(Path(version.uri) / path.name) for path in out.iterdir())
    assert all(path.stat().st_mode & 0o200 for path in out.iterdir())


def test_a_damaged_version_comes_back_from_dvc(tmp_path: Path) -> None:
    version = keep(tmp_path / "data", 30)
    shutil.copytree(version.uri, tmp_path / "whole")
    part = Path(version.uri) / "part-00001.parquet"
    with part.open("r+b") as file:  # through the link: the cache's object is damaged with it
        file.write(b"damaged")
    done = checkout_version(tmp_path / "data", "demo", version.version, tmp_path / "out")
    assert done.origin == "dvc"
    assert same(tmp_path / "out", tmp_path / "whole")


def test_a_version_whose_folder_is_gone_is_found_in_git(tmp_path: Path) -> None:
    version = keep(tmp_path / "data", 30)
    shutil.rmtree(version.uri)
    assert find_version(tmp_path / "data", "demo", version.version)[0] == version
    done = checkout_version(tmp_path / "data", "demo", version.version, tmp_path / "out")
    assert done.version == version
    assert holds(tmp_path / "out", version)


def test_the_same_checkout_again_changes_nothing(tmp_path: Path) -> None:
    version = keep(tmp_path / "data", 30)
    (tmp_path / "out").mkdir()
    arguments = tmp_path / "data", "demo", version.version, tmp_path / "out"
    assert [checkout_version(*arguments).origin for _ in range(2)] == ["versions", "there"]


@pytest.mark.parametrize("spoil", ["another version", "a file more", "a part less", "a file"])
def test_a_folder_with_anything_else_is_refused(tmp_path: Path, spoil: str) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    first, second = keep(data, 30), keep(data, 29)
    checkout_version(data, "demo", first.version, out)
    wanted = first.version
    match spoil:
        case "another version":
            wanted = second.version
        case "a file more":
            (out / "mine.txt").write_text("mine")
        case "a part less":
            (out / "part-00002.parquet").unlink()
        case "a file":
            out = out / "schema.json"
    with pytest.raises(CheckoutFailed, match="is not empty"):
        checkout_version(data, "demo", wanted, out)


def test_rows_that_are_nowhere_are_told(tmp_path: Path) -> None:
    version = keep(tmp_path / "data", 30)
    for gone in (version.uri, tmp_path / "data/repo/.dvc/cache", tmp_path / "data/remote"):
        shutil.rmtree(gone)
    with pytest.raises(CheckoutFailed, match="neither DVC's cache nor a remote"):
        checkout_version(tmp_path / "data", "demo", version.version, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folders_of_others_beside_it_are_left_alone(tmp_path: Path) -> None:
    version = keep(tmp_path / "data", 30)
    for name in ("2024-data", ".out.999999999.partial", ".other.999999999.partial"):
        (tmp_path / "parent" / name).mkdir(parents=True)
    checkout_version(tmp_path / "data", "demo", version.version, tmp_path / "parent" / "out")
    left = {path.name for path in (tmp_path / "parent").iterdir()}
    assert left == {"2024-data", ".other.999999999.partial", "out"}


def test_all_versions_are_pushed_again_where_the_remote_lost_them(tmp_path: Path) -> None:
    assert push_all(tmp_path / "data").files == 0
    first, _ = keep(tmp_path / "data", 30), keep(tmp_path / "data", 29)
    shutil.rmtree(tmp_path / "data" / "remote")
    assert push_all(tmp_path / "data").files > 0
    shutil.rmtree(first.uri)
    shutil.rmtree(tmp_path / "data" / "repo" / ".dvc" / "cache")
    done = checkout_version(tmp_path / "data", "demo", first.version, tmp_path / "out")
    assert done.origin == "dvc"
