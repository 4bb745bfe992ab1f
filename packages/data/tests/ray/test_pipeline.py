"""The whole of ingestion, over a real Ray cluster."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentloop.contracts import (
    DataBatch,
    DataQualityError,
    DataSourceConfig,
    NothingNew,
    SchemaMismatch,
    SourceUnreadable,
)
from agentloop.data import DataIngestionPipeline, scan
from agentloop.data.arrow_extract import Extract
from agentloop.data.arrow_fit import complete
from agentloop.data.arrow_plan import plan_scan
from agentloop.data.arrow_source import extract_source
from agentloop.data.batch import ScanPlan
from agentloop.data.scan import scan_blocks
from agentloop.lifecycle.arrow_dataset import read_columns

RNG = np.random.default_rng(0)
SIZES = RNG.normal(size=1800)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    import ray

    ray.init(num_cpus=2, include_dashboard=False, logging_level="warning")
    yield
    ray.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_csv(tmp_path, SIZES)
    return tmp_path


def write_csv(folder: Path, sizes: Any, more: str = "") -> None:
    lines = [f"{size},{'Ulm' if i % 3 else '?'},{i % 2}" for i, size in enumerate(sizes)]
    (folder / "rows.csv").write_text("size,town,y\n" + "\n".join(lines) + "\n" + more)


def pipeline(folder: Path, kind: str = "csv", **more: Any) -> DataIngestionPipeline:
    config = DataSourceConfig.model_validate(
        {"source": {"kind": kind, "path": f"rows.{kind}"}, "target": "y", **more}
    )
    return DataIngestionPipeline(config, name="demo", base_dir=folder, home=folder / "home")


def planned(extract: Extract, config: DataSourceConfig) -> ScanPlan:
    return complete(plan_scan(extract, config), extract, config)


async def ingest(folder: Path, **more: Any) -> DataBatch:
    return await pipeline(folder, **more).ingest_batch("monday")


async def test_a_file_becomes_a_version_that_can_be_read_back(folder: Path) -> None:
    batch = await ingest(folder)
    columns = read_columns(batch.version)
    np.testing.assert_allclose(columns["size"], SIZES)
    assert columns["town"][:3].tolist() == [None, "Ulm", "Ulm"]
    assert columns["y"][:2].tolist() == ["0", "1"]
    assert (batch.id, batch.validation.is_valid, batch.profile.rows) == ("monday", True, 1800)
    assert batch.profile.column("town").nulls == 600


async def test_the_same_rows_are_the_same_version_whatever_the_format(folder: Path) -> None:
    first = await ingest(folder)
    towns = [("Ulm" if i % 3 else None) for i in range(1800)]
    table = pa.table({"y": [i % 2 for i in range(1800)], "town": towns, "size": SIZES})
    pq.write_table(table, folder / "rows.parquet")
    assert (await ingest(folder, kind="parquet")).version == first.version


async def test_two_ingests_at_once_take_turns(folder: Path) -> None:
    first, second = await asyncio.gather(ingest(folder), ingest(folder))
    assert first.version == second.version


async def test_changed_rows_are_the_next_version(folder: Path) -> None:
    first = await ingest(folder)
    write_csv(folder, SIZES + 5)
    second = await ingest(folder)
    assert second.version.version != first.version.version
    assert [f.check for f in second.validation.findings] == ["distribution"]
    np.testing.assert_allclose(read_columns(first.version)["size"], SIZES)


async def test_a_new_column_is_refused_until_it_is_declared(folder: Path) -> None:
    first = await ingest(folder)
    (folder / "rows.csv").write_text("size,town,extra,y\n" + "1.5,Ulm,2,1\n2.5,Ulm,3,0\n" * 50)
    with pytest.raises(SchemaMismatch, match=r"'extra' \(integer\) is new"):
        await ingest(folder)
    second = await ingest(folder, columns={"extra": {}})
    assert "extra" in second.version.schema.names
    assert "extra" not in first.version.schema.names


async def test_a_rejected_batch_is_set_aside_and_no_version(folder: Path) -> None:
    with pytest.raises(DataQualityError) as caught:
        await ingest(folder, columns={"size": {"maximum": 2.0}})
    assert "above the declared maximum of 'size'" in caught.value.errors[0]
    aside = Path(caught.value.quarantine)
    assert aside == folder / "home" / "data" / "quarantine" / "demo" / "monday"
    failing = pq.ParquetFile(aside / "failing.parquet").read()
    assert failing.num_rows == (SIZES > 2).sum()
    assert json.loads((aside / "reasons.json").read_text())["is_valid"] is False
    assert sorted(p.name for p in (folder / "home" / "data").iterdir()) == [
        ".lock",
        "quarantine",
        "staging",
    ]
    assert list((folder / "home" / "data" / "staging").iterdir()) == []


async def test_quarantined_rows_leave_a_valid_rest(folder: Path) -> None:
    batch = await ingest(
        folder, columns={"size": {"maximum": 2.0}}, checks={"on_failure": "quarantine"}
    )
    assert batch.version.rows == batch.profile.rows == (SIZES <= 2).sum()
    aside = folder / "home" / "data" / "quarantine" / "demo" / "monday"
    assert sorted(p.name for p in aside.iterdir()) == [
        "failing.parquet",
        "reasons.json",
        "report.html",
    ]


async def test_a_large_file_gives_the_same_version_with_ray_as_with_threads(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv(folder, RNG.normal(size=1_700_000))
    asked: list[str] = []
    whole = pipeline(folder)
    whole._ray_ready = lambda: asked.append("ray")
    here = await whole.ingest_batch("threads")
    assert asked == []
    monkeypatch.setattr(scan, "LOCAL_BYTES", 0)
    alone = await whole.ingest_batch("one machine")
    assert asked == ["ray"]
    assert alone.version == here.version
    monkeypatch.setattr(scan, "HERE_CPUS", 0)
    there = await whole.ingest_batch("ray")
    assert asked == ["ray", "ray"]
    assert (there.version.version, there.profile) == (here.version.version, here.profile)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
async def test_large_files_are_streamed_to_the_same_rows(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = pipeline(folder, kind)._config
    rows = [{"size": s, "town": "Ulm", "y": i % 2} for i, s in enumerate(SIZES.tolist())]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet", row_group_size=100)
    extract = extract_source(config, folder, large_bytes=1)
    assert extract.parts
    monkeypatch.setattr(scan, "LOCAL_BYTES", -1)
    monkeypatch.setattr(scan, "HERE_CPUS", 0)
    blocks = list(scan_blocks(extract, planned(extract, config)))
    sizes = pa.concat_tables([block.rows for block in blocks]).column("size").to_numpy()
    np.testing.assert_allclose(sizes, SIZES)


async def test_a_large_file_that_turns_to_garbage_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "LOCAL_BYTES", -1)
    monkeypatch.setattr(scan, "HERE_CPUS", 0)
    config = pipeline(folder)._config
    whole = extract_source(config, folder, large_bytes=1)
    plan = planned(whole, config)
    with (folder / "rows.csv").open("ab") as file:
        file.write(b"\xff\xfe\x00" * 50)
    with pytest.raises(SourceUnreadable, match=r"rows\.csv"):
        list(scan_blocks(whole, plan))


async def test_torn_rows_reject_or_are_set_aside_with_their_text(folder: Path) -> None:
    write_csv(folder, SIZES, "1,2,3,4,5\n")
    with pytest.raises(DataQualityError, match="1 row cannot be read"):
        await ingest(folder)
    batch = await ingest(folder, checks={"on_failure": "quarantine"})
    finding = next(f for f in batch.validation.findings if f.check == "torn")
    assert (batch.version.rows, finding.rows[0]["#"], finding.examples) == (
        1800,
        "1801",
        ("1,2,3,4,5",),
    )


async def test_blocks_do_not_change_the_outcome(folder: Path) -> None:
    config = pipeline(folder)._config
    extract = extract_source(config, folder)
    plan = planned(extract, config)
    one = list(scan_blocks(extract, plan))
    many = list(scan_blocks(extract, plan, block_rows=100))
    assert (len(one), len(many)) == (1, 18)
    rows = [pa.concat_tables([block.rows for block in blocks]) for blocks in (one, many)]
    assert rows[0].equals(rows[1])


async def test_a_batch_is_the_same_in_one_file_or_many(folder: Path) -> None:
    whole = await ingest(folder)
    header, *lines = (folder / "rows.csv").read_text().splitlines(keepends=True)
    (folder / "cut").mkdir()
    for number, start in enumerate(range(0, 1800, 300)):
        text = header + "".join(lines[start : start + 300])
        (folder / "cut" / f"{number}.csv").write_text(text)
    cut = await ingest(folder, source={"kind": "csv", "path": "cut"})
    assert (cut.version.version, cut.profile) == (whole.version.version, whole.profile)


async def test_since_last_takes_what_is_new(folder: Path) -> None:
    days = [f"2026-01-{1 + i // 24:02}T{i % 24:02}:00:00" for i in range(480)]

    def write(days: list[str]) -> None:
        lines = [f"{day},{i % 2}" for i, day in enumerate(days)]
        (folder / "rows.csv").write_text("at,y\n" + "\n".join(lines) + "\n")

    source = {"kind": "csv", "path": "rows.csv", "time_column": "at", "since": "last"}
    write(days[:240])
    first = await ingest(folder, source=source)
    assert (first.version.rows, first.version.latest_time) == (240, "2026-01-10T23:00:00")
    with pytest.raises(NothingNew, match="nothing later than 2026-01-10T23:00:00"):
        await ingest(folder, source=source)
    write(days)
    second = await ingest(folder, source=source)
    assert (second.version.rows, second.version.parent) == (240, first.version.version)
