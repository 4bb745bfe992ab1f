"""Stored dataset versions to train on."""

from pathlib import Path

import numpy as np
import pytest

from agentloop.contracts import ColumnSchema, DataSchema, DatasetVersion, ModelSpec, SplitSpec
from agentloop.lifecycle.arrow_dataset import ContentHasher
from agentloop.training import TrainingConfig


def store(folder: Path, columns: dict, kinds: dict, target: str) -> DatasetVersion:
    """``columns`` as the data package stores them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = DataSchema(tuple(ColumnSchema(n, kinds.get(n, "number")) for n in columns), target)
    table = pa.table({n: pa.array(v, from_pandas=True) for n, v in columns.items()})
    hasher = ContentHasher(schema)
    hasher.update(table)
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "part-00000.parquet")
    digest = hasher.hexdigest()
    return DatasetVersion(
        name="data",
        version=f"data-{digest[:8]}",
        content_hash=digest,
        rows=table.num_rows,
        uri=str(folder),
        schema=schema,
        revision="0" * 40,
        created_at="2026-01-01T00:00:00+00:00",
    )


def blobs(rows: int = 240, classes: int = 2, seed: int = 0) -> dict:
    """Two numbers and a category that tell the classes apart."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, rows)
    return {
        "x": label * 3.0 + rng.normal(size=rows),
        "y": -label * 2.0 + rng.normal(size=rows),
        "colour": np.array(["red", "green", "blue", "grey"], object)[label % 4],
        "label": np.array([f"c{k}" for k in label], object),
    }


BLOB_KINDS = {"colour": "category", "label": "category"}


@pytest.fixture
def blob_version(tmp_path):
    return store(tmp_path / "data", blobs(), BLOB_KINDS, "label")


@pytest.fixture
def config(tmp_path, blob_version):
    return config_for(tmp_path, blob_version)


def config_for(folder: Path, version: DatasetVersion, **spec) -> TrainingConfig:
    spec.setdefault("search", {"trials": 0})
    return TrainingConfig(
        model="blobs",
        spec=ModelSpec.model_validate(spec),
        dataset=version,
        split=SplitSpec(),
        idempotency_key="key-1",
        tracking_uri=f"sqlite:///{folder}/home/mlflow.db",
        home=folder / "home",
        base_dir=folder,
    )


@pytest.fixture
def make_config(tmp_path):
    """A config on any columns: ``make_config(columns, kinds, target, **model_spec)``."""

    def make(columns=None, kinds=None, target="label", name="data", **spec):
        columns = blobs() if columns is None else columns
        version = store(tmp_path / name, columns, BLOB_KINDS if kinds is None else kinds, target)
        return config_for(tmp_path, version, **spec)

    return make
