"""Public data sets as their publishers wrote them, each by a loop.yaml of at most 40 lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agentloop.contracts import DataBatch, load_spec
from agentloop.data import DataIngestionPipeline

SPECS = Path(__file__).parents[1] / "helpers" / "public"


@dataclass(frozen=True)
class Expected:
    """Rows, columns (the target included), and classes of the target (0: a number)."""

    rows: int
    columns: int
    classes: int


EXPECTED = {
    "adult": Expected(32_561 + 16_281, 15, 2),
    "bank_marketing": Expected(41_188, 22, 2),
    "bike_sharing": Expected(17_379, 14, 0),
    "credit_default": Expected(30_000, 24, 2),
    "electricity": Expected(45_312, 8, 2),
    "employment_ma": Expected(68_785, 18, 2),
    "employment_joined": Expected(68_785 + 208_892, 18, 2),
    "german_credit": Expected(1000, 21, 2),
    "mnist": Expected(60_000, 785, 10),
    "telco_churn": Expected(7043, 20, 2),
    "wine_quality": Expected(1599, 12, 2),
}


def data_folder() -> Path | None:
    shared = os.environ.get("AGENTLOOP_SHARED")
    beside = [parent / "shared" for parent in Path(__file__).resolve().parents]
    roots = [Path(shared)] if shared else beside
    return next((root / "data" for root in roots if (root / "data" / "adult").is_dir()), None)


DATA = data_folder()
pytestmark = pytest.mark.skipif(DATA is None, reason="the shared data sets are not here")
Ingest = Callable[[str], DataBatch]


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, DataBatch]]:
    import ray

    assert DATA is not None
    os.environ["AGENTLOOP_SHARED"] = str(DATA.parent)
    ray.init(num_cpus=2, include_dashboard=False, logging_level="warning")
    yield {}
    ray.shutdown()


@pytest.fixture
async def batch(
    request: pytest.FixtureRequest, batches: dict[str, DataBatch], tmp_path: Path
) -> DataBatch:
    """The batch of the data set that the test is about, ingested once."""
    name: str = request.param
    if name not in batches:
        assert DATA is not None
        spec = load_spec(SPECS / f"{name}.yaml")
        folder = SPECS if name == "employment_joined" else DATA / name
        pipeline = DataIngestionPipeline(spec.data, name=spec.name, base_dir=folder, home=tmp_path)
        batches[name] = await pipeline.ingest_batch("first")
    return batches[name]


def about(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("batch", names, indirect=True)


@pytest.mark.parametrize(("name", "batch"), [(n, n) for n in EXPECTED], indirect=["batch"])
def test_every_row_is_there(name: str, batch: DataBatch) -> None:
    expected = EXPECTED[name]
    assert len((SPECS / f"{name}.yaml").read_text().splitlines()) <= 40
    target = batch.profile.column(batch.version.schema.target)
    assert (batch.version.rows, len(batch.profile.columns)) == (expected.rows, expected.columns)
    assert target.nulls == 0
    if expected.classes:
        assert (target.kind in ("category", "boolean"), target.distinct) == (True, expected.classes)


@about("adult")
def test_labels_that_end_in_a_dot_are_the_same_labels(batch: DataBatch) -> None:
    assert dict(batch.profile.column("income").top) == {"<=50K": 37_155, ">50K": 11_687}
    assert sum(c.nulls for c in batch.profile.columns) == 6465  # the question marks
    assert batch.profile.column("workclass").top[0][0] == "Private"  # no blank before it


@about("credit_default")
def test_lines_that_end_in_cr_and_mangled_numbers_are_read(batch: DataBatch) -> None:
    limit = batch.profile.column("LIMIT_BAL")
    assert (limit.kind, limit.minimum, limit.maximum) == ("integer", 10_000, 1_000_000)
    assert all(c.nulls == 0 for c in batch.profile.columns)


@about("telco_churn")
def test_blanks_in_a_number_column_are_missing(batch: DataBatch) -> None:
    charges = batch.profile.column("TotalCharges")
    assert (charges.kind, charges.nulls) == ("number", 11)


@about("bank_marketing")
def test_a_number_that_stands_for_never_is_missing(batch: DataBatch) -> None:
    assert batch.profile.column("days_since").nulls == 39_673
    assert "duration" not in batch.version.schema.names


@about("wine_quality")
def test_a_derived_target_takes_the_place_of_what_it_is_derived_from(batch: DataBatch) -> None:
    assert "quality" not in batch.version.schema.names
    assert dict(batch.profile.column("good").top) == {"true": 855, "false": 744}


@about("mnist")
def test_images_are_columns_of_pixels(batch: DataBatch) -> None:
    assert sum(n for _, n in batch.profile.column("label").top) == 60_000
    assert batch.profile.column("pixel_0").maximum == 0
    assert batch.profile.column("pixel_350").maximum == 255
