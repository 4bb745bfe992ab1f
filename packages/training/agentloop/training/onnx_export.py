"""The served artefact: one ONNX graph from feature matrix to scores, checked against the models.

Every member is exported as ``features`` -> ``raw``; here they share the input, their raw scores are
added by weight, and the head makes scores of the sum.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, compose, helper

from agentloop.contracts.errors import TrainingError
from agentloop.training.fits import Predictor
from agentloop.training.head import Head

MAX_DIFFERENCE = 1e-5
IR_VERSION = 8
ROWS_AT_ONCE = 4096


def export_model(
    members: Sequence[tuple[Predictor, float]], head: Head, width: int, path: Path
) -> None:
    """Write ``features`` float32 (rows, width) → ``scores`` float32 (rows, outputs).

    The same weights give the same bytes. Raises TrainingError for a layer ONNX cannot express.
    """
    nodes: list[Any] = []
    initializers: list[Any] = []
    opsets: dict[str, int] = {}
    outputs = 1
    with tempfile.TemporaryDirectory() as folder:
        for number, (member, _) in enumerate(members):
            part = Path(folder) / f"{number}.onnx"
            member.export(part)
            graph = _prefixed(onnx.load(str(part)), f"m{number}/", opsets)
            nodes.extend(graph.node)
            initializers.extend(graph.initializer)
            outputs = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    raws = [f"m{number}/raw" for number in range(len(members))]
    _add_sum(nodes, initializers, raws, [weight for _, weight in members])
    _add_head(nodes, initializers, head)
    graph = helper.make_graph(
        nodes,
        "agentloop",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", width])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", outputs])],
        initializers,
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in sorted(opsets.items())]
    model = helper.make_model(graph, opset_imports=imports, producer_name="agentloop")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def run_onnx(path: Path, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The graph's scores, float32 (rows, outputs), computed as serving computes them."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found = [
        session.run(["scores"], {"features": features[start : start + ROWS_AT_ONCE]})[0]
        for start in range(0, max(len(features), 1), ROWS_AT_ONCE)
    ]
    return np.concatenate(found)


def check_parity(
    members: Sequence[tuple[Predictor, float]],
    head: Head,
    path: Path,
    features: npt.NDArray[np.float32],
) -> float:
    """The largest difference between the graph and the models on ``features``: of probabilities,
    or of values in standard deviations of the target (relative to values beyond one). Raises
    TrainingError beyond ``MAX_DIFFERENCE``."""
    raw = sum(weight * _exact(member, features) for member, weight in members)
    expected, exported = head.apply(np.asarray(raw)), run_onnx(path, features)
    if expected.shape != exported.shape:
        raise TrainingError(
            f"the exported model answers {exported.shape} where the trained one answers "
            f"{expected.shape}"
        )
    unit = head.scale if head.task == "regression" else 1.0
    scale = np.maximum(np.abs(expected), unit)
    difference = float((np.abs(expected - exported) / scale).max(initial=0.0))
    if not difference <= MAX_DIFFERENCE:
        raise TrainingError(
            f"the exported model differs from the trained one by {difference:.2g} "
            f"(at most {MAX_DIFFERENCE:g})"
        )
    return difference


def _exact(member: Predictor, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The member's raw scores by other means than the graph, where it has any."""
    by_itself = getattr(member, "exact", member.raw)
    return np.asarray(by_itself(features), np.float64)


def _prefixed(model: Any, prefix: str, opsets: dict[str, int]) -> Any:
    """The graph with names of its own, but for the input that all share."""
    for opset in model.opset_import:
        known = opsets.setdefault(opset.domain, opset.version)
        if known != opset.version:
            raise TrainingError(
                f"members were exported for ONNX opsets {known} and {opset.version}"
            )
    renamed = compose.add_prefix(model, prefix)
    for node in renamed.graph.node:
        for place, name in enumerate(node.input):
            if name == f"{prefix}features":
                node.input[place] = "features"
    return renamed.graph


def _add_sum(
    nodes: list[Any], initializers: list[Any], raws: Sequence[str], weights: Sequence[float]
) -> None:
    if len(raws) == 1:
        nodes.append(helper.make_node("Identity", [raws[0]], ["raw"]))
        return
    weighted = []
    for number, (raw, weight) in enumerate(zip(raws, weights, strict=True)):
        name, out = f"weight{number}", f"weighted{number}"
        initializers.append(helper.make_tensor(name, TensorProto.FLOAT, [], [weight]))
        nodes.append(helper.make_node("Mul", [raw, name], [out]))
        weighted.append(out)
    nodes.append(helper.make_node("Sum", weighted, ["raw"]))


def _add_head(nodes: list[Any], initializers: list[Any], head: Head) -> None:
    def constant(name: str, value: float) -> str:
        initializers.append(helper.make_tensor(name, TensorProto.FLOAT, [], [value]))
        return name

    if head.task == "regression":
        nodes.append(helper.make_node("Mul", ["raw", constant("scale", head.scale)], ["scaled"]))
        nodes.append(helper.make_node("Add", ["scaled", constant("mean", head.mean)], ["scores"]))
        return
    temperature = constant("temperature", head.temperature)
    nodes.append(helper.make_node("Div", ["raw", temperature], ["logits"]))
    nodes.append(helper.make_node("Softmax", ["logits"], ["scores"], axis=1))
