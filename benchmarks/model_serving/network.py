"""The one network that everybody serves: 30 floats, 64 hidden units, two classes.

Ours gets it as a bundle, scaling in its feature pipeline; peers as an ONNX file with that scaling
folded into the first layer, so that both give the same answer to the same row.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts import ColumnSchema, DataSchema, ModelVersion, Stage
from agentloop.lifecycle import (
    FeaturePipeline,
    InputColumn,
    Signature,
    build_reference,
    fit_features,
    seal_bundle,
    write_noun,
)

MODEL, WIDTH, HIDDEN, CLASSES = "mlp", 30, 64, ("benign", "malignant")
NAMES = tuple(f"x{number}" for number in range(WIDTH))
SCHEMA = DataSchema(
    (*(ColumnSchema(n, "number") for n in NAMES), ColumnSchema("y", "category")), "y"
)
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Layers:
    """float32: ``hidden`` (30, 64), ``bias`` (64,), ``out`` (64, 2)."""

    hidden: Array
    bias: Array
    out: Array

    def scores(self, rows: Array) -> Array:
        """Probabilities (rows, 2) of scaled rows (rows, 30)."""
        logits = np.maximum(rows @ self.hidden + self.bias, 0) @ self.out
        grown = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(grown / grown.sum(axis=1, keepdims=True))


class World:
    """Data, weights and rows, the same for every run."""

    def __init__(self) -> None:
        rng = np.random.default_rng(11)
        means, spreads = rng.uniform(1, 200, WIDTH), rng.uniform(0.5, 40, WIDTH)
        self.data = means + spreads * np.clip(rng.normal(size=(600, WIDTH)), -2.5, 2.5)
        self.columns = {name: self.data[:, i] for i, name in enumerate(NAMES)}
        self.features: FeaturePipeline = fit_features(self.columns, SCHEMA)
        hidden = rng.normal(0, 0.3, (WIDTH, HIDDEN)).astype(np.float32)
        bias = rng.normal(0, 0.1, HIDDEN).astype(np.float32)
        out = rng.normal(0, 0.3, (HIDDEN, 2)).astype(np.float32)
        self.layers = Layers(hidden, bias, out)
        # A row whose first value is under its mean, and one over it: the failing version fails
        # on the second.
        centre = np.array([f.mean for f in self.features.numeric])
        below = np.flatnonzero(self.data[:, 0] < centre[0])
        above = np.flatnonzero(self.data[:, 0] > centre[0])
        self.below, self.above = below, above
        self.row = [round(float(v), 3) for v in self.data[below[0]]]
        self.other_row = [round(float(v), 3) for v in self.data[above[0]]]

    def expected(self, row: list[float]) -> Array:
        """The two probabilities of one raw row."""
        scaled = np.asarray(
            self.features.transform({n: np.array([v]) for n, v in zip(NAMES, row, strict=True)})
        )
        return np.asarray(self.layers.scores(scaled)[0])

    def folded(self) -> Layers:
        """The layers for raw rows."""
        mean = np.array([f.mean for f in self.features.numeric])
        scale = np.array([f.scale for f in self.features.numeric])
        hidden = self.layers.hidden / scale[:, None]
        bias = self.layers.bias - mean @ hidden
        return Layers(hidden.astype(np.float32), bias.astype(np.float32), self.layers.out)


def write_network(path: Path, layers: Layers, *, fails: bool = False) -> None:
    """``features`` float32 (rows, 30) to ``scores`` (rows, 2). One that ``fails`` looks up past
    the end of a table where the first feature is above 0: on about half of the rows."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    source = "checked" if fails else "features"
    nodes = [
        helper.make_node("MatMul", [source, "hidden"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["shifted"]),
        helper.make_node("Relu", ["shifted"], ["active"]),
        helper.make_node("MatMul", ["active", "out"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    constants = {"hidden": layers.hidden, "bias": layers.bias, "out": layers.out}
    if fails:
        nodes[:0] = [
            helper.make_node("Gather", ["features", "first"], ["value"], axis=1),
            helper.make_node("Greater", ["value", "zero"], ["above"]),
            helper.make_node("Cast", ["above"], ["index"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "index"], ["looked_up"]),
            helper.make_node("Add", ["features", "looked_up"], ["checked"]),
        ]
        constants |= {
            "first": np.array([0], np.int64),
            "zero": np.zeros(1, np.float32),
            "table": np.zeros(1, np.float32),
        }
    graph = helper.make_graph(
        nodes,
        MODEL,
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, WIDTH])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, str(path))


def write_version(folder: Path, world: World, number: int, *, fails: bool = False) -> ModelVersion:
    """A sealed bundle below ``folder``, and the version that names it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    version = f"0.{number}.0-aaaaaaaa-{number:08d}"
    place = folder / version
    place.mkdir(parents=True)
    write_network(place / "model.onnx", world.layers, fails=fails)
    write_noun(place, "features.json", world.features)
    inputs = tuple(InputColumn(name, "FP64") for name in NAMES)
    write_noun(place, "signature.json", Signature(MODEL, "binary", inputs, "y", CLASSES))
    labels = np.array([CLASSES[i % 2] for i in range(len(world.data))], dtype=object)
    write_noun(place, "reference_profile.json", build_reference(world.columns, SCHEMA, labels))
    # The first is one that the failing version answers, so that its smoke tests pass.
    held = world.data[np.stack([world.below[:200], world.above[:200]], axis=1).ravel()]
    table = {name: held[:, i] for i, name in enumerate(NAMES)}
    pq.write_table(pa.table({**table, "y": labels[: len(held)]}), place / "holdout.parquet")
    digest = seal_bundle(place)
    return ModelVersion(MODEL, version, Stage.STAGING, digest, str(place), "run", "data")
