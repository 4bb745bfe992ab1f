"""Trees as arrays, and as an ONNX graph that decides every row as they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from agentloop.contracts.errors import TrainingError
from agentloop.contracts.models import Task
from agentloop.training.fits import State

ML_OPSET, OPSET, IR_VERSION = 3, 17, 8
_FIELDS = ("feature", "threshold", "left", "right", "value", "leaf", "start", "output", "baseline")


@dataclass(frozen=True)
class Trees:
    """Nodes of all trees, one after another: ``start`` int64 (trees + 1,) are where each begins,
    ``left`` and ``right`` count within a tree. A row goes left where its ``feature`` is at most
    ``threshold``. ``output`` (trees,) is the raw score a tree adds to, ``baseline`` (outputs,) what
    the scores begin with."""

    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float32]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    value: npt.NDArray[np.float32]
    leaf: npt.NDArray[np.uint8]
    start: npt.NDArray[np.int64]
    output: npt.NDArray[np.int32]
    baseline: npt.NDArray[np.float64]

    @classmethod
    def flattened(
        cls, nodes: Sequence[Any], outputs: Sequence[int], baseline: npt.NDArray[np.float64]
    ) -> Trees:
        """From scikit-learn's node arrays, one a tree."""
        empty = np.zeros(0, nodes[0].dtype) if nodes else np.zeros(0)
        every = np.concatenate([empty, *nodes]) if nodes else empty
        starts = np.cumsum([0, *(len(one) for one in nodes)])
        return cls(
            feature=every["feature_idx"].astype(np.int32),
            threshold=floor32(every["num_threshold"]),
            left=every["left"].astype(np.int32),
            right=every["right"].astype(np.int32),
            value=every["value"].astype(np.float32),
            leaf=every["is_leaf"].astype(np.uint8),
            start=starts.astype(np.int64),
            output=np.asarray(outputs, np.int32),
            baseline=baseline,
        )

    @classmethod
    def of(cls, weights: State, outputs: int) -> Trees:
        """Raises TrainingError for weights that are no trees of so many outputs."""
        try:
            trees = cls(**{name: np.asarray(weights[name]) for name in _FIELDS})
        except KeyError as error:
            raise TrainingError(f"the weights are no trees: {error} is missing") from None
        if len(trees.baseline) != (1 if outputs <= 2 else outputs):
            raise TrainingError("the weights are trees of another number of classes")
        return trees

    @property
    def weights(self) -> State:
        return {name: getattr(self, name) for name in _FIELDS}

    def raw(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """float64 (rows, len(baseline)), tree by tree."""
        total = np.tile(self.baseline, (len(features), 1))
        rows = np.arange(len(features))
        for number, output in enumerate(self.output):
            begin = self.start[number]
            place = np.zeros(len(features), np.int64)
            while True:
                node = begin + place
                inner = self.leaf[node] == 0
                if not inner.any():
                    break
                goes_left = features[rows, self.feature[node]] <= self.threshold[node]
                step = np.where(goes_left, self.left[node], self.right[node])
                place = np.where(inner, step, place)
            total[:, output] += self.value[begin + place]
        return total


def floor32(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The largest float32 that is not above each value: ``x <= value`` then holds for a float32 x
    exactly where ``x <= floor32(value)`` does."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    above = rounded.astype(np.float64) > values
    lower: npt.NDArray[np.float32] = np.where(
        above, np.nextafter(rounded, np.float32(-np.inf)), rounded
    ).astype(np.float32)
    return lower


class TreesInOnnx:
    """The graph ``features`` float32 (rows, width) -> ``raw`` float32 (rows, outputs)."""

    def __init__(self, trees: Trees, width: int, task: Task) -> None:
        self._trees, self._width, self._task = trees, width, task

    @cached_property
    def serialized(self) -> bytes:
        data: bytes = self._model().SerializeToString(deterministic=True)
        return data

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(
            self.serialized, options, providers=["CPUExecutionProvider"]
        )

    def raw(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        scores: npt.NDArray[np.float32] = self._session.run(["raw"], {"features": features})[0]
        return scores

    def spread(self, raw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Two logits from the one that trees of a binary task have, 0 and it."""
        if self._task != "binary":
            return raw
        return np.concatenate([np.zeros_like(raw), raw], axis=1)

    def _model(self) -> Any:
        trees = self._trees
        outputs = len(trees.baseline)
        nodes = [
            helper.make_node(
                "TreeEnsembleRegressor",
                ["features"],
                ["trees"],
                domain="ai.onnx.ml",
                n_targets=outputs,
                aggregate_function="SUM",
                post_transform="NONE",
                base_values=[float(v) for v in trees.baseline],
                **_attributes(trees),
            )
        ]
        initializers = []
        if self._task == "binary":
            pair = helper.make_tensor("pair", TensorProto.FLOAT, [1, 2], [0.0, 1.0])
            initializers.append(pair)
            nodes.append(helper.make_node("Mul", ["trees", "pair"], ["raw"]))
        else:
            nodes.append(helper.make_node("Identity", ["trees"], ["raw"]))
        columns = 2 if self._task == "binary" else outputs
        graph = helper.make_graph(
            nodes,
            "trees",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", self._width])],
            [helper.make_tensor_value_info("raw", TensorProto.FLOAT, ["rows", columns])],
            initializers,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="agentloop")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        return model


def _attributes(trees: Trees) -> dict[str, Any]:
    sizes = np.diff(trees.start)
    tree = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(len(tree)) - np.repeat(trees.start[:-1], sizes)
    leaf = trees.leaf.astype(bool)
    zeros = np.zeros(len(tree), np.int64)
    return {
        "nodes_treeids": tree.tolist(),
        "nodes_nodeids": within.tolist(),
        "nodes_featureids": np.where(leaf, 0, trees.feature).tolist(),
        "nodes_values": np.where(leaf, 0, trees.threshold).astype(float).tolist(),
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        "nodes_truenodeids": np.where(leaf, 0, trees.left).tolist(),
        "nodes_falsenodeids": np.where(leaf, 0, trees.right).tolist(),
        "nodes_missing_value_tracks_true": zeros.tolist(),
        "target_treeids": tree[leaf].tolist(),
        "target_nodeids": within[leaf].tolist(),
        "target_ids": trees.output[tree[leaf]].tolist(),
        "target_weights": trees.value[leaf].astype(float).tolist(),
    }
