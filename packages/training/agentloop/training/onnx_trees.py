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
        cls, trees: Sequence[Any], outputs: Sequence[int], baseline: npt.NDArray[np.float64]
    ) -> Trees:
        """From each tree's columns, by scikit-learn's names for them."""

        def column(name: str, dtype: Any) -> Any:
            empty = np.zeros(0, dtype)
            return np.concatenate([empty, *(np.asarray(tree[name], dtype) for tree in trees)])

        starts = np.cumsum([0, *(len(tree["value"]) for tree in trees)])
        return cls(
            feature=column("feature_idx", np.int32),
            threshold=floor32(column("num_threshold", np.float64)),
            left=column("left", np.int32),
            right=column("right", np.int32),
            value=column("value", np.float32),
            leaf=column("is_leaf", np.uint8),
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
    """The graph ``features`` float32 (rows, width) -> ``raw`` float32 (rows, outputs).

    With ``least_share`` the trees add up to shares of the classes (of the second one, in a binary
    task), which are held at least that far from 0 and 1 and turned into logits.
    """

    def __init__(
        self, trees: Trees, width: int, task: Task, least_share: float | None = None
    ) -> None:
        self._trees, self._width, self._task = trees, width, task
        self._least = least_share

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
        """Logits (rows, outputs) from what the trees add up to (rows, len(baseline)): those of a
        binary task are 0 and one number."""
        if self._least is not None:
            share = np.clip(raw, self._least, 1 - self._least)
            raw = np.log(share) - (np.log1p(-share) if self._task == "binary" else 0.0)
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
                ["sums"],
                domain="ai.onnx.ml",
                n_targets=outputs,
                aggregate_function="SUM",
                post_transform="NONE",
                **_attributes(trees),
            ),
            # ONNX Runtime leaves base_values out of a score that no tree adds to.
            helper.make_node("Add", ["sums", "baseline"], ["trees"]),
        ]
        baseline = [float(v) for v in trees.baseline]
        initializers: list[Any] = [
            helper.make_tensor("baseline", TensorProto.FLOAT, [1, outputs], baseline)
        ]
        logits = "trees" if self._least is None else self._add_logits(nodes, initializers)
        if self._task == "binary":
            initializers.append(helper.make_tensor("pair", TensorProto.FLOAT, [1, 2], [0.0, 1.0]))
            nodes.append(helper.make_node("Mul", [logits, "pair"], ["raw"]))
        else:
            nodes.append(helper.make_node("Identity", [logits], ["raw"]))
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

    def _add_logits(self, nodes: list[Any], initializers: list[Any]) -> str:
        """Logarithms of shares; of a binary task's one share less that of the other."""

        def constant(name: str, value: float) -> str:
            initializers.append(helper.make_tensor(name, TensorProto.FLOAT, [], [value]))
            return name

        least = self._least or 0.0
        ends = [constant("least", least), constant("most", 1.0 - least)]
        nodes.append(helper.make_node("Clip", ["trees", *ends], ["share"]))
        nodes.append(helper.make_node("Log", ["share"], ["log"]))
        if self._task != "binary":
            return "log"
        nodes.append(helper.make_node("Sub", [constant("one", 1.0), "share"], ["other"]))
        nodes.append(helper.make_node("Log", ["other"], ["log_other"]))
        nodes.append(helper.make_node("Sub", ["log", "log_other"], ["logits"]))
        return "logits"


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
