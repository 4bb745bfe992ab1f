"""torch and ONNX Runtime answer alike, from the same bundle."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from agentloop.contracts import ArtifactUnverified, ColumnSchema, DataSchema
from agentloop.lifecycle import (
    InputColumn,
    Signature,
    build_reference,
    fit_features,
    open_bundle,
    seal_bundle,
    write_noun,
)
from agentloop.lifecycle.feature_layout import layout_of

torch = pytest.importorskip("torch")

COLUMNS = {
    **{f"f{i}": np.random.default_rng(i).normal(i, 1 + i, 50) for i in range(4)},
    "colour": np.array(["blue", "red", "green", None, "red"] * 10, object),
}
KINDS = {"colour": "category"}
MLP = {"embedding": 2, "hidden": [8, 4], "dropout": 0.1}
FT = {"width": 8, "heads": 2, "blocks": 2, "dropout": 0.1}
CNN = {"image": None, "shift": 1, "channels": [4], "hidden": [8], "dropout": 0.1}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def make_bundle(folder, members, task="binary", names=tuple(COLUMNS)):
    """``members``: (family, parameters, weight); random weights, exported as training exports."""
    import onnx
    from onnx import TensorProto, compose, helper
    from safetensors.numpy import save_file

    from agentloop.lifecycle.torch_networks import BUILDERS

    folder.mkdir()
    columns = {name: COLUMNS[name] for name in names}
    schema = DataSchema(
        (*(ColumnSchema(n, KINDS.get(n, "number")) for n in names), ColumnSchema("y", "category")),
        target="y",
    )
    features = fit_features(columns, schema)
    classes = () if task == "regression" else ("a", "b")
    torch.manual_seed(0)
    nodes, constants, arrays = [], [], {}
    for number, (family, parameters, weight) in enumerate(members):
        network = BUILDERS[family](layout_of(features), len(classes) or 1, parameters).eval()
        arrays |= {f"{number}.{n}": v.numpy().copy() for n, v in network.state_dict().items()}
        part = folder / "part.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network,
                (torch.zeros(2, features.width),),
                str(part),
                dynamo=False,
                opset_version=17,
                input_names=["features"],
                output_names=["raw"],
                dynamic_axes={"features": {0: "rows"}, "raw": {0: "rows"}},
            )
        graph = compose.add_prefix(onnx.load(str(part)), f"m{number}/").graph
        part.unlink()
        for node in graph.node:
            inputs = ["features" if name == f"m{number}/features" else name for name in node.input]
            node.input[:] = inputs
        nodes += [
            *graph.node,
            helper.make_node("Mul", [f"m{number}/raw", f"w{number}"], [f"r{number}"]),
        ]
        constants += [*graph.initializer, constant(f"w{number}", weight)]
    nodes.append(helper.make_node("Sum", [f"r{n}" for n in range(len(members))], ["raw"]))
    if task == "regression":
        nodes.append(helper.make_node("Mul", ["raw", "scale"], ["scaled"]))
        nodes.append(helper.make_node("Add", ["scaled", "mean"], ["scores"]))
        constants += [constant("scale", 3.5), constant("mean", 100.0)]
    else:
        nodes.append(helper.make_node("Div", ["raw", "temperature"], ["logits"]))
        nodes.append(helper.make_node("Softmax", ["logits"], ["scores"], axis=1))
        constants.append(constant("temperature", 1.7))
    shape = ["rows", features.width]
    graph = helper.make_graph(
        nodes,
        "t",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", None])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(folder / "model.onnx"))
    save_file(arrays, folder / "weights.safetensors")
    recipe = {"members": [{"family": f, "parameters": p, "weight": w} for f, p, w in members]}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    inputs = tuple(InputColumn(n, "BYTES" if n in KINDS else "FP64") for n in features.names)
    write_noun(folder, "features.json", features)
    write_noun(folder, "signature.json", Signature("m", task, inputs, "y", classes))
    labels = np.array(["a", "b"] * 25, object)
    write_noun(folder, "reference_profile.json", build_reference(columns, schema, labels))
    seal_bundle(folder)
    return open_bundle(folder)


def constant(name, value):
    from onnx import TensorProto, helper

    return helper.make_tensor(name, TensorProto.FLOAT, [], [value])


NUMBERS = tuple(name for name in COLUMNS if name not in KINDS)
CASES = {
    "linear": ([("linear", {}, 1.0)], "binary", tuple(COLUMNS)),
    "mlp": ([("mlp", MLP, 1.0)], "binary", tuple(COLUMNS)),
    "ft-transformer": ([("ft-transformer", FT, 1.0)], "binary", tuple(COLUMNS)),
    "cnn": ([("cnn", CNN, 1.0)], "binary", NUMBERS),
    "mixture": ([("mlp", MLP, 0.75), ("linear", {}, 0.25)], "binary", tuple(COLUMNS)),
    "regression": ([("mlp", MLP, 1.0)], "regression", tuple(COLUMNS)),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", CASES)
def test_it_answers_as_the_validated_graph(tmp_path, case, device):
    from agentloop.serving.replica.onnx_predictor import OnnxPredictor
    from agentloop.serving.replica.torch_predictor import TorchPredictor

    members, task, names = CASES[case]
    bundle = make_bundle(tmp_path / "bundle", members, task, names)
    columns = {name: COLUMNS[name] for name in names}
    labels, scores = OnnxPredictor(bundle).predict(columns)
    theirs, their_scores = TorchPredictor(bundle, device).predict(columns)
    unit = 3.5 if task == "regression" else 1.0
    np.testing.assert_allclose(their_scores, scores, rtol=1e-5, atol=1e-5 * unit)
    assert their_scores.dtype == np.float32
    assert their_scores.std() > 1e-3
    if task != "regression":
        assert (labels == theirs).all()


def test_a_family_that_is_code_is_not_run(tmp_path):
    from agentloop.serving.replica.torch_predictor import TorchPredictor

    bundle = make_bundle(tmp_path / "bundle", [("linear", {}, 1.0)])
    recipe = {"members": [{"family": "os:system", "parameters": {}, "weight": 1.0}]}
    (bundle.path / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(ArtifactUnverified, match="os:system"):
        TorchPredictor(bundle)


@pytest.mark.parametrize("name", ["recipe.json", "weights.safetensors"])
def test_a_bundle_without_what_torch_needs_is_answered_by_onnx(tmp_path, monkeypatch, name):
    from agentloop.serving.replica import serve_predictors, torch_predictor

    bundle = make_bundle(tmp_path / "bundle", [("linear", {}, 1.0)])
    monkeypatch.setattr(torch_predictor, "gpu_device", lambda: "cpu")
    assert type(serve_predictors.load_predictor(bundle, 0.5)).__name__ == "TorchPredictor"
    assert type(serve_predictors.load_predictor(bundle, 0)).__name__ == "OnnxPredictor"
    (bundle.path / name).unlink()
    assert type(serve_predictors.load_predictor(bundle, 0.5)).__name__ == "OnnxPredictor"


def test_weights_of_another_network_are_refused(tmp_path):
    from agentloop.serving.replica.torch_predictor import TorchPredictor

    bundle = make_bundle(tmp_path / "bundle", [("linear", {}, 1.0)])
    recipe = {"members": [{"family": "mlp", "parameters": MLP, "weight": 1.0}]}
    (bundle.path / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(ArtifactUnverified, match="not those of its recipe"):
        TorchPredictor(bundle)
