"""Many ingests of one dataset at once: each becomes a version, in one line of history."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentloop.contracts import DataSourceConfig
from agentloop.data import DataIngestionPipeline
from agentloop.data.version_store import VersionStore
from agentloop.lifecycle.arrow_dataset import read_columns

AT_ONCE = 20


def pipeline(folder: Path, number: int) -> DataIngestionPipeline:
    lines = [f"{number * 1000 + i},{i % 2}" for i in range(60)]
    (folder / f"{number}.csv").write_text("id,y\n" + "\n".join(lines) + "\n")
    spec: dict[str, Any] = {"source": {"kind": "csv", "path": f"{number}.csv"}, "target": "y"}
    config = DataSourceConfig.model_validate(spec)
    return DataIngestionPipeline(config, name="demo", base_dir=folder, home=folder / "home")


def parents_in(repo: Path) -> list[str]:
    command = ["git", "-C", str(repo), "log", "--format=%P"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("same", [False, True], ids=["different", "same"])
async def test_twenty_ingests_at_once(tmp_path: Path, same: bool) -> None:
    ingests = [pipeline(tmp_path, 0 if same else number) for number in range(AT_ONCE)]
    batches = await asyncio.gather(*(p.ingest_batch(f"b{n}") for n, p in enumerate(ingests)))
    versions = {batch.version.version for batch in batches}
    assert len(versions) == (1 if same else AT_ONCE)
    store = VersionStore(tmp_path / "home" / "data", "demo")
    assert {entry.version for entry in store.log()} == versions
    keys = [read_columns(version)["id"] for name in versions if (version := store.find(name))]
    assert len(np.unique(np.concatenate(keys))) == 60 * len(versions)
    parents = [len(line.split()) for line in parents_in(tmp_path / "home" / "data" / "repo")]
    assert parents == [1] * (len(versions) - 1) + [0]
