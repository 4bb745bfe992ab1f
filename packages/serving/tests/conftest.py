"""Tiny models to serve: a linear layer and a softmax, written by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from agentloop.contracts import (
    ColumnSchema,
    DataSchema,
    LoopSpec,
    ModelVersion,
    SignedReport,
    Stage,
    ValidationReport,
)
from agentloop.lifecycle import (
    InputColumn,
    MemoryRegistry,
    Signature,
    Signer,
    build_reference,
    fit_features,
    open_signer,
    seal_bundle,
    write_noun,
)

MODEL = "tiny"
SCHEMA = DataSchema(
    (
        ColumnSchema("size", "number"),
        ColumnSchema("age", "integer"),
        ColumnSchema("colour", "category"),
        ColumnSchema("kind", "category"),
    ),
    target="kind",
)


def write_bundle(folder: Path, bias: float = 0.0, broken: bool = False) -> str:
    """A sealed bundle of a two-class model; a ``broken`` one fails on rows whose colour is red."""
    import onnx
    import pyarrow as pa
    import pyarrow.parquet as pq
    from onnx import TensorProto, helper, numpy_helper

    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)
    columns = {
        "size": rng.normal(10, 2, 200),
        "age": rng.integers(1, 90, 200),
        "colour": rng.choice(np.array(["blue", "red"], dtype=object), 200),
    }
    columns["colour"][0] = "blue"
    features = fit_features(columns, SCHEMA)
    weights = np.array([[1, -1], [0.5, -0.5], [0.2, -0.2], [-0.2, 0.2]], np.float32)
    nodes = [
        helper.make_node("MatMul", ["features", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    if broken:  # a table look-up past its end where colour is red
        nodes[:0] = [
            helper.make_node("Gather", ["features", "last"], ["red"], axis=1),
            helper.make_node("Cast", ["red"], ["index"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "index"], ["looked_up"]),
            helper.make_node("Add", ["features", "looked_up"], ["shifted"]),
        ]
        nodes[4].input[0] = "shifted"
    constants = {"w": weights, "b": np.array([bias, 0], np.float32)}
    if broken:
        constants["table"] = np.zeros(1, np.float32)
        constants["last"] = np.array([features.width - 1], np.int64)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, features.width])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, str(folder / "model.onnx"))
    signature = Signature(
        MODEL,
        "binary",
        (
            InputColumn("size", "FP64"),
            InputColumn("age", "FP64"),
            InputColumn("colour", "BYTES"),
        ),
        "kind",
        ("a", "b"),
    )
    write_noun(folder, "features.json", features)
    write_noun(folder, "signature.json", signature)
    labels = np.array(["a", "b"] * 100, dtype=object)
    write_noun(folder, "reference_profile.json", build_reference(columns, SCHEMA, labels))
    pq.write_table(pa.table({**columns, "kind": labels}), folder / "holdout.parquet")
    return seal_bundle(folder)


MakeVersion = Callable[..., ModelVersion]


def register_version(
    folder: Path, registry: MemoryRegistry, number: int, **options: bool
) -> ModelVersion:
    """Version ``0.N.0-...`` of a new bundle under ``folder``, registered in Staging."""
    version = f"0.{number}.0-aaaaaaaa-bbbbbbb{number}"
    digest = write_bundle(folder / version, bias=number / 10, **options)
    path = str(folder / version)
    mv = ModelVersion(MODEL, version, Stage.STAGING, digest, path, "run", "data")
    return registry.register(mv, version)


def make_spec() -> LoopSpec:
    return LoopSpec.model_validate(
        {
            "name": MODEL,
            "data": {"source": {"kind": "csv", "path": "x.csv"}, "target": "kind"},
            "serving": {"port": 0},
            "rollout": {"step_seconds": 0},
        }
    )


def approve_all(signer: Signer) -> Callable[[ModelVersion], SignedReport]:
    """A gate that approves everything."""

    def load(mv: ModelVersion) -> SignedReport:
        return signer.sign(ValidationReport(mv, {}, True, (), model_digest=mv.digest))

    return load


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """The builders above, for fixtures that live longer than one test."""
    return SimpleNamespace(register=register_version, spec=make_spec, approve_all=approve_all)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return open_signer(tmp_path / "keys")


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


@pytest.fixture
def make_version(tmp_path: Path, registry: MemoryRegistry) -> MakeVersion:
    return partial(register_version, tmp_path / "bundles", registry)


@pytest.fixture
def load_report(signer: Signer) -> Callable[[ModelVersion], SignedReport]:
    return approve_all(signer)


@pytest.fixture
def loop_spec() -> LoopSpec:
    return make_spec()
