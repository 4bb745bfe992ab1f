"""Write the bundle: everything that is validated and served, in one sealed folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.lifecycle.bundle import (
    FEATURES,
    HOLDOUT,
    MODEL,
    REFERENCE,
    SIGNATURE,
    InputColumn,
    Signature,
    seal_bundle,
    write_noun,
)
from agentloop.lifecycle.features import FeaturePipeline
from agentloop.lifecycle.reference import build_reference
from agentloop.training.dataset import Columns, PreparedData, Target, label_texts

MODEL_CARD = "model_card.md"


def write_bundle(
    folder: Path,
    model: str,
    data: PreparedData,
    onnx: Path,
    train_scores: npt.NDArray[np.float32],
    card: str,
) -> str:
    """Write and seal a fresh bundle in ``folder``; the digest (sha256, hex).

    ``train_scores``: the model's scores of ``data.training``, (rows, outputs). The same
    arguments give the same digest.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copyfile(onnx, folder / MODEL)
    write_noun(folder, FEATURES, data.pipeline)
    write_noun(folder, SIGNATURE, signature_of(model, data.pipeline, data.target, data))
    regression = data.target.task == "regression"
    reference = build_reference(
        data.training, data.schema, predictions_of(data.target, train_scores), regression
    )
    write_noun(folder, REFERENCE, reference)
    write_holdout(folder / HOLDOUT, data)
    (folder / MODEL_CARD).write_text(card, encoding="utf-8")
    return seal_bundle(folder)


def signature_of(
    model: str, pipeline: FeaturePipeline, target: Target, data: PreparedData
) -> Signature:
    """What a request must hold: numbers as FP64, categories as BYTES."""
    numbers = {feature.name for feature in pipeline.numeric}
    inputs = tuple(
        InputColumn(name, "FP64" if name in numbers else "BYTES") for name in pipeline.names
    )
    return Signature(model, target.task, inputs, data.schema.target, target.classes)


def predictions_of(target: Target, scores: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """Class labels as text (rows,), or values (rows,) for regression."""
    if target.task == "regression":
        return scores.reshape(-1).astype(np.float64)
    return np.array(target.classes, object)[scores.argmax(axis=1)]


def write_holdout(path: Path, data: PreparedData) -> None:
    """The test split as Parquet: the raw columns that the model reads, and the target (the label
    as text, as in the signature's classes, or a float64 value)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: Columns = {name: data.holdout[name] for name in data.pipeline.names}
    values = data.holdout[data.schema.target]
    arrays = {name: _arrow(pa, column) for name, column in columns.items()}
    arrays[data.schema.target] = (
        _arrow(pa, values)
        if data.target.task == "regression"
        else pa.array(label_texts(values), pa.string())
    )
    pq.write_table(pa.table(arrays), path, compression="zstd")


def _arrow(pa: Any, values: npt.NDArray[Any]) -> Any:
    """float64 with null for NaN, or text with null for None."""
    return pa.array(values, from_pandas=True)
