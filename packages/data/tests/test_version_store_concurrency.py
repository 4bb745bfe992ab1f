"""Many processes at once: the history of each dataset is a line, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import dvc.repo  # noqa: F401  imported once, before the forks
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentloop.contracts import ColumnSchema, DataProfile, DataSchema
from agentloop.data.batch import TransformedBatch
from agentloop.data.files import staging_folder
from agentloop.data.version_store import VersionStore
from agentloop.lifecycle.arrow_dataset import ContentHasher, read_columns

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

SCHEMA = DataSchema((ColumnSchema("key", "integer"),), "key")


def keep(data_dir: Path, name: str, number: int) -> None:
    table = pa.table({"key": range(number, number + 100)})
    hasher = ContentHasher(SCHEMA)
    hasher.update(table)
    store = VersionStore(data_dir, name)
    with staging_folder(store.staging, f"{name}{number}") as staging:
        pq.write_table(table, staging / "part-00000.parquet")
        digest = hasher.hexdigest()
        batch = TransformedBatch("rows", SCHEMA, staging, digest, 100, 0, 0, {}, {})
        store.keep(batch, DataProfile(100, ()), "2026-01-01", batch_id=f"{number}")


def at_once(data_dir: Path, names: list[str]) -> list[int]:
    """Exit codes of one process a name, each with rows of its own."""
    children = []
    for number, name in enumerate(names):
        child = os.fork()
        if not child:
            code = 1
            try:
                keep(data_dir, name, number)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def git(data_dir: Path, *arguments: str) -> list[str]:
    command = ["git", "-C", str(data_dir / "repo"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize("names", [["demo"] * 20, ["one", "two"] * 5], ids=["one dataset", "two"])
def test_keeps_at_once_make_one_line_of_versions(tmp_path: Path, names: list[str]) -> None:
    assert at_once(tmp_path, names) == [0] * len(names)
    assert len(git(tmp_path, "log", "--format=%h")) == len(git(tmp_path, "tag")) == len(names)
    assert git(tmp_path, "rev-list", "--merges", "HEAD") == []
    assert git(tmp_path, "status", "--porcelain") == []
    for name in set(names):
        store = VersionStore(tmp_path, name)
        log = store.log()
        assert sorted(int(a.batch_id) for a in log) == [
            number for number, other in enumerate(names) if other == name
        ]
        assert [a.parent for a in log] == ["", *(a.version for a in log[:-1])]
        for accepted in log:
            version = store.find(accepted.version)
            assert version is not None
            first = int(accepted.batch_id)
            assert read_columns(version)["key"].tolist() == list(range(first, first + 100))
