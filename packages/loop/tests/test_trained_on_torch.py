"""What training writes is what the GPU's predictor reads: names, recipe and head agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentloop.contracts import ColumnSchema, DataSchema
from agentloop.contracts.spec_families import ParametersSpec, parameters_of
from agentloop.lifecycle import (
    InputColumn,
    ModelBundle,
    Signature,
    build_reference,
    fit_features,
    open_bundle,
    seal_bundle,
    write_noun,
)
from agentloop.lifecycle.feature_layout import layout_of
from agentloop.training.fits import FitRequest, Fitted, Target
from agentloop.training.head import Head
from agentloop.training.recipe import DataRecipe, Recipe, _member
from agentloop.training.trained import Member, TrainedModel, load_members

ROWS = 60
COLUMNS: dict[str, Any] = {
    "x": np.linspace(-3, 9, ROWS),
    "colour": np.array(["red", "blue", None] * (ROWS // 3), object),
}
SCHEMA = DataSchema(
    (ColumnSchema("x", "number"), ColumnSchema("colour", "category"), ColumnSchema("y", "number")),
    target="y",
)
CLASSES = np.array(["a", "b"] * (ROWS // 2), object)


def trained_bundle(folder: Path, families: tuple[str, ...], task: Any) -> ModelBundle:
    """Untrained networks, written by training's own code."""
    from agentloop.training.bundle_arrow import write_weights
    from agentloop.training.onnx_export import export_model
    from agentloop.training.torch_families import build_model

    folder.mkdir()
    features = fit_features(COLUMNS, SCHEMA)
    classes = () if task == "regression" else ("a", "b")
    target = Target(task, classes, mean=100.0, scale=2.5)
    members = []
    for seed, family in enumerate(families):
        request = FitRequest(
            family, layout_of(features), target, parameters_of(family, ParametersSpec()), seed, "."
        )
        weights = dict(build_model(request).state_dict())
        fitted = Fitted(weights, (), 1, 0.0)
        members.append(Member(family, request.parameters, seed, fitted, 1 / len(families)))
    head = Head(task, 100.0, 2.5, 1.7)
    trained = TrainedModel(families[0], tuple(members), head)
    loaded = load_members(members, request)
    export_model(loaded, head, features.width, folder / "model.onnx")
    write_weights(folder / "weights.safetensors", trained)
    recipe = Recipe(
        "m", {}, {}, DataRecipe("d", "v", "h", ROWS), 1, tuple(map(_member, members)), 1.7,
        refit=False, seed=0, workers=0, threads=1, packages={},
    )  # fmt: skip
    write_noun(folder, "recipe.json", recipe)
    inputs = (InputColumn("x", "FP64"), InputColumn("colour", "BYTES"))
    write_noun(folder, "features.json", features)
    write_noun(folder, "signature.json", Signature("m", task, inputs, "y", classes))
    predictions = np.zeros(ROWS) if task == "regression" else CLASSES
    reference = build_reference(COLUMNS, SCHEMA, predictions, task == "regression")
    write_noun(folder, "reference_profile.json", reference)
    return open_bundle(folder, seal_bundle(folder))


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize("families", [("mlp",), ("ft-transformer",), ("linear", "mlp")])
def test_torch_answers_as_the_graph_that_training_exported(
    tmp_path: Path, families: tuple[str, ...], task: str
) -> None:
    from agentloop.serving.replica.onnx_predictor import OnnxPredictor
    from agentloop.serving.replica.torch_predictor import TorchPredictor

    bundle = trained_bundle(tmp_path / "bundle", families, task)
    columns = {name: COLUMNS[name] for name in ("x", "colour")}
    expected = OnnxPredictor(bundle).predict(columns)[1]
    found = TorchPredictor(bundle).predict(columns)[1]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert found.std() > 1e-4
