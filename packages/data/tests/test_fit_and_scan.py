"""What is fitted, is fitted on the training split of the version that is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentloop.contracts import DataSourceConfig
from agentloop.data import scan as scan_module
from agentloop.data.arrow_extract import Extract
from agentloop.data.arrow_threads import run_here
from agentloop.data.arrow_work import ChunkWork
from agentloop.data.pipeline import DataIngestionPipeline
from agentloop.lifecycle.arrow_split import split_rows

RNG = np.random.default_rng(0)
ROWS = 4000


def config(**more: Any) -> DataSourceConfig:
    return DataSourceConfig.model_validate(
        {
            "source": {"kind": "parquet", "path": "rows"},
            "target": "y",
            "checks": {"on_failure": "quarantine", "max_anomaly_rate": 1},
            **more,
        }
    )


def table() -> pa.Table:
    sizes = RNG.lognormal(size=ROWS)
    sizes[RNG.uniform(size=ROWS) < 0.2] = np.nan
    ages = RNG.integers(0, 120, ROWS)
    return pa.table(
        {
            "id": np.arange(ROWS) // 2,
            "size": pa.array(sizes, from_pandas=True),
            "age": ages,
            "y": RNG.integers(0, 2, ROWS),
        }
    )


@pytest.fixture
def scan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Scans in small blocks; gives the rows that would be stored."""

    def blocks(extract: Extract, work: ChunkWork, _: int = 0) -> Any:
        return run_here(extract, work, block_rows=500)

    monkeypatch.setattr(scan_module, "run_here", blocks)

    def run(rows: pa.Table, spec: DataSourceConfig) -> pa.Table:
        staging = tmp_path / "staging"
        staging.mkdir(exist_ok=True)
        whole = DataIngestionPipeline(spec, home=tmp_path)
        whole._transform(Extract("rows", "parquet", rows), staging)
        return pq.read_table(staging / "part-00000.parquet")

    return run


def test_rows_that_are_set_aside_take_no_part_whatever_the_split(scan: Any) -> None:
    rows = table().append_column("_n", pa.array(np.arange(ROWS)))
    spec = config(
        steps=[{"kind": "impute", "columns": ["size"], "statistic": "mean"}],
        columns={"age": {"maximum": 60}},
        split={"by": "group", "column": "id"},
    )
    stored = scan(rows, spec)
    columns = {"id": stored.column("id").to_numpy().astype(float)}
    trains = ~split_rows(columns, stored.num_rows, spec.split)
    places = stored.column("_n").to_numpy()
    raw = rows.column("size").to_numpy()[places]
    filled = stored.column("size").to_numpy()[np.isnan(raw)]
    np.testing.assert_allclose(filled, np.nanmean(raw[trains]), rtol=1e-9)


def training_median(rows: pa.Table, stored: pa.Table, spec: DataSourceConfig) -> float:
    """Of the stored rows that train, as they were before the fill."""
    test = split_rows({}, stored.num_rows, spec.split)
    raw = dict(zip(rows.column("_n").to_pylist(), rows.column("size").to_pylist(), strict=True))
    values = [raw[n] for n in stored.column("_n").filter(pa.array(~test)).to_pylist()]
    return float(np.median([v for v in values if v is not None]))


@pytest.mark.parametrize("by", ["row", "order"])
@pytest.mark.parametrize("cleaning", ["none", "quarantine", "unique", "drop_duplicates"])
def test_a_median_is_that_of_the_stored_training_rows(scan: Any, by: str, cleaning: str) -> None:
    steps: list[dict[str, Any]] = [{"kind": "impute", "columns": ["size"], "statistic": "median"}]
    columns: dict[str, Any] = {}
    if cleaning == "quarantine":
        columns = {"age": {"maximum": 60}}
    if cleaning == "unique":
        columns = {"id": {"unique": True}}
    if cleaning == "drop_duplicates":
        steps.insert(0, {"kind": "drop_duplicates", "columns": ["id"]})
    spec = config(steps=steps, columns=columns, split={"by": by})
    rows = table().append_column("_n", pa.array(np.arange(ROWS)))
    stored = scan(rows, spec)
    assert (stored.num_rows == ROWS) == (cleaning == "none")
    was_null = rows.column("size").is_null().to_numpy()
    filled = stored.column("size").to_numpy()[was_null[stored.column("_n").to_numpy()]]
    assert set(filled.tolist()) == {training_median(rows, stored, spec)}
