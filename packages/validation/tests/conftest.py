"""Real bundles: a logistic model of the Wisconsin breast cancer data, sealed as training would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression, Ridge

from agentloop.contracts import ColumnSchema, DataSchema, ModelVersion, Stage
from agentloop.lifecycle import (
    InputColumn,
    Signature,
    build_reference,
    fit_features,
    seal_bundle,
    write_noun,
)
from agentloop.validation import Candidate, open_candidate

TEST_SHARE = 0.25
MakeVersion = Callable[..., ModelVersion]


def write_onnx(path: Path, weights: Any, bias: Any, softmax: bool) -> None:
    """``features`` (rows, width) @ weights (width, outputs) + bias, through a softmax."""
    last = "logits" if softmax else "scores"
    nodes = [helper.make_node("Gemm", ["features", "w", "b"], [last])]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["scores"], axis=1))
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", len(weights)])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", len(bias)])],
        [
            numpy_helper.from_array(np.asarray(weights, np.float32), "w"),
            numpy_helper.from_array(np.asarray(bias, np.float32), "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))


def tables(regression: bool) -> tuple[dict[str, Any], DataSchema]:
    """Thirty numbers, a category ``site`` that says nothing, and the target."""
    raw = load_breast_cancer()
    columns = {str(n).replace(" ", "_"): raw.data[:, i] for i, n in enumerate(raw.feature_names)}
    columns["site"] = np.where(np.arange(len(raw.target)) % 3 == 0, "north", "south").astype(object)
    target = "mean_area" if regression else "diagnosis"
    if not regression:
        columns[target] = np.array(["malignant", "benign"], object)[raw.target]
    kinds = {"site": "category", "diagnosis": "category"}
    schema = tuple(ColumnSchema(name, kinds.get(name, "number")) for name in columns)  # type: ignore[arg-type]
    return columns, DataSchema(schema, target)


def write_version(
    folder: Path, version: str, flip: float, shift: float, regression: bool
) -> ModelVersion:
    """A sealed bundle; ``flip`` spoils that share of the training labels, ``shift`` moves the
    held-out rows of one column by that many sigmas."""
    columns, schema = tables(regression)
    rng = np.random.default_rng(0)
    test = rng.random(len(columns["site"])) < TEST_SHARE
    train = {name: values[~test] for name, values in columns.items()}
    held = {name: values[test] for name, values in columns.items()}
    held["mean_texture"] = held["mean_texture"] + shift * train["mean_texture"].std()
    pipeline = fit_features(train, schema)
    matrix = pipeline.transform(train)
    truth = train[schema.target]
    classes: tuple[str, ...] = ()
    if regression:
        fitted = Ridge().fit(matrix, truth)
        weights, bias = fitted.coef_[:, None], [fitted.intercept_]
        predictions = fitted.predict(matrix)
    else:
        spoilt = rng.random(len(truth)) < flip
        truth = np.where(spoilt, "malignant", truth)
        fitted = LogisticRegression(max_iter=500).fit(matrix, truth)
        classes = tuple(str(name) for name in fitted.classes_)
        zeros = np.zeros_like(fitted.coef_[0])
        weights = np.stack([zeros, fitted.coef_[0]], axis=1)
        bias = [0.0, fitted.intercept_[0]]
        predictions = fitted.predict(matrix)
    folder.mkdir(parents=True)
    write_onnx(folder / "model.onnx", weights, bias, softmax=not regression)
    inputs = tuple(InputColumn(n, "BYTES" if n == "site" else "FP64") for n in pipeline.names)
    task: Any = "regression" if regression else "binary"
    write_noun(folder, "features.json", pipeline)
    write_noun(folder, "signature.json", Signature("cancer", task, inputs, schema.target, classes))
    reference = build_reference(train, schema, predictions, regression)
    write_noun(folder, "reference_profile.json", reference)
    arrays = {name: pa.array(values, from_pandas=True) for name, values in held.items()}
    pq.write_table(pa.table(arrays), folder / "holdout.parquet")
    digest = seal_bundle(folder)
    return ModelVersion("cancer", version, Stage.VALIDATION, digest, str(folder), "run", "data-1")


@pytest.fixture(scope="session")
def make_version(tmp_path_factory: pytest.TempPathFactory) -> MakeVersion:
    """Versions by their arguments, each written once."""
    root, made = tmp_path_factory.mktemp("bundles"), {}

    def make(
        version: str = "1.0.0", flip: float = 0.0, shift: float = 0.0, regression: bool = False
    ) -> ModelVersion:
        key = json.dumps([version, flip, shift, regression])
        if key not in made:
            folder = root / f"bundle-{len(made)}"
            made[key] = write_version(folder, version, flip, shift, regression)
        return made[key]

    return make


@pytest.fixture(scope="session")
def candidate(make_version: MakeVersion) -> Candidate:
    return open_candidate(make_version())[1]


@pytest.fixture(scope="session")
def regressor(make_version: MakeVersion) -> Candidate:
    return open_candidate(make_version(regression=True))[1]
