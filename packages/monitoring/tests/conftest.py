"""A reference profile of 30 normal columns, traffic like it, and a bundle that carries it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from agentloop.contracts import ColumnSchema, DataSchema
from agentloop.lifecycle import (
    InputColumn,
    ModelBundle,
    ReferenceProfile,
    Signature,
    build_reference,
    fit_features,
    open_bundle,
    seal_bundle,
    write_noun,
)

COLUMNS = tuple(f"x{i}" for i in range(30))
Rows = tuple[dict[str, npt.NDArray[np.float64]], npt.NDArray[np.object_]]


def make_rows(rows: int, seed: int, shift: float = 0.0) -> Rows:
    """Columns (rows,) of standard normals, the first moved by ``shift``, and labels a or b."""
    rng = np.random.default_rng(seed)
    columns = {name: rng.normal(size=rows) for name in COLUMNS}
    columns["x0"] = columns["x0"] + shift
    return columns, np.where(rng.random(rows) < 0.4, "a", "b").astype(object)


def schema() -> DataSchema:
    features = tuple(ColumnSchema(name, "number") for name in COLUMNS)
    return DataSchema((*features, ColumnSchema("y", "category")), "y")


@pytest.fixture(scope="session")
def profile() -> ReferenceProfile:
    columns, labels = make_rows(5000, seed=1)
    return build_reference(columns, schema(), labels)


@pytest.fixture(scope="session")
def bundle(profile: ReferenceProfile, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """Monitoring reads a bundle's nouns alone, so the model in this one is no model."""
    folder: Path = tmp_path_factory.mktemp("bundle")
    columns, _ = make_rows(100, seed=2)
    inputs = tuple(InputColumn(name, "FP64") for name in COLUMNS)
    (folder / "model.onnx").write_bytes(b"not read by monitoring")
    write_noun(folder, "features.json", fit_features(columns, schema()))
    write_noun(folder, "signature.json", Signature("flowers", "binary", inputs, "y", ("a", "b")))
    write_noun(folder, "reference_profile.json", profile)
    return open_bundle(folder, seal_bundle(folder))


@pytest.fixture
def rows() -> Callable[..., Rows]:
    return make_rows


@pytest.fixture
def other_profile(profile: ReferenceProfile) -> ReferenceProfile:
    """The same columns with other edges."""
    first = profile.columns[0]
    moved = dataclasses.replace(first, edges=tuple(edge + 1 for edge in first.edges))
    return dataclasses.replace(profile, columns=(moved, *profile.columns[1:]))
