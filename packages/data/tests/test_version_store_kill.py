"""Killed at any write, a retry ends with one whole version."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentloop.data.version_store import VersionStore
from agentloop.lifecycle.arrow_dataset import read_columns

# Keeps one version; its process kills itself at write number argv[2] (0: never, but count them).
CHILD = """
import os, signal, sys
from pathlib import Path
import numpy as np, pyarrow.parquet as pq
from agentloop.contracts import ColumnSchema, DataSchema
from agentloop.data.batch import TransformedBatch
from agentloop.data.files import staging_folder
from agentloop.data.profiler import build_profile
from agentloop.data.sketch import summarise_numbers
from agentloop.data.version_store import VersionStore
from agentloop.lifecycle.arrow_dataset import ContentHasher
import dvc.repo

data_dir, last = Path(sys.argv[1]), int(sys.argv[2])
schema = DataSchema((ColumnSchema("y", "number"),), "y")
table = pq.read_table(data_dir.parent / "rows.parquet")
hasher = ContentHasher(schema)
hasher.update(table)
summaries = {"y": summarise_numbers(table.column("y").to_numpy(), 0)}
writes = 0

def at_write(event, args):
    global writes
    written = event in ("os.rename", "os.mkdir", "os.remove", "os.link", "subprocess.Popen")
    if written or event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        writes += 1
        if writes == last:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(at_write)
store = VersionStore(data_dir, "demo")
with staging_folder(store.staging, "x") as staging:
    pq.write_table(table, staging / "part-00000.parquet")
    digest = hasher.hexdigest()
    batch = TransformedBatch("rows", schema, staging, digest, 3, 0, 0, {}, summaries)
    print(store.keep(batch, build_profile(batch), "now").version, writes)
"""


def run(folder: Path, last: int) -> subprocess.CompletedProcess[str]:
    environment = {
        "PYTHONPATH": ":".join(path for path in sys.path if path),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }
    command = [sys.executable, "-c", CHILD, str(folder / "data"), str(last)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """The version, and how many writes it takes."""
    folder = tmp_path_factory.mktemp("whole")
    pq.write_table(pa.table({"y": [1.0, 2.0, 3.0]}), folder / "rows.parquet")
    version, writes = run(folder, 0).stdout.split()
    return version, int(writes)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.99])
def test_a_retry_after_a_kill_ends_with_one_whole_version(
    tmp_path: Path, whole: tuple[str, int], share: float
) -> None:
    expected, writes = whole
    pq.write_table(pa.table({"y": [1.0, 2.0, 3.0]}), tmp_path / "rows.parquet")
    assert run(tmp_path, max(1, round(share * writes))).returncode == -9
    store = VersionStore(tmp_path / "data", "demo")
    assert store.last() is None
    retried = run(tmp_path, 0)
    assert retried.stdout.split()[:1] == [expected], retried.stderr
    repo = tmp_path / "data" / "repo"
    told = [
        subprocess.run(["git", "-C", repo, *command], capture_output=True, text=True, check=True)
        for command in (["tag"], ["status", "--porcelain"], ["log", "--format=%s"])
    ]
    assert [done.stdout.split("\n")[0] for done in told] == [
        f"demo/{expected}",
        "",
        f"demo {expected}",
    ]
    version = store.find(expected)
    assert version is not None
    assert read_columns(version)["y"].tolist() == [1.0, 2.0, 3.0]
    assert list(store.staging.iterdir()) == []
