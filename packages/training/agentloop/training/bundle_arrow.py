"""Write the bundle: everything that is validated and served, in one sealed folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.errors import TrainingError
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
from agentloop.lifecycle.reference import ReferenceProfile, build_reference
from agentloop.training.config import TrainingConfig
from agentloop.training.dataset import Columns, PreparedData, label_texts
from agentloop.training.evaluation import Evaluation
from agentloop.training.fits import Target
from agentloop.training.recipe import RECIPE, recipe_of
from agentloop.training.trained import TrainedModel

MODEL_CARD = "model_card.md"
WEIGHTS = "weights.safetensors"
CALIBRATION = "calibration.json"
IMPORTANCES = "importances.json"


def write_bundle(
    folder: Path,
    config: TrainingConfig,
    data: PreparedData,
    trained: TrainedModel,
    evaluation: Evaluation,
    onnx: Path,
    card: str,
) -> str:
    """Write and seal a fresh bundle in ``folder``; the digest (sha256, hex).

    The same arguments give the same digest. Raises TrainingError for weights that are no numbers.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copyfile(onnx, folder / MODEL)
    write_weights(folder / WEIGHTS, trained)
    write_noun(folder, FEATURES, data.pipeline)
    write_noun(folder, SIGNATURE, signature_of(config.model, data.pipeline, data.target, data))
    write_noun(folder, REFERENCE, _reference(data, evaluation))
    write_noun(folder, IMPORTANCES, evaluation.importances)
    if evaluation.calibration is not None:
        write_noun(folder, CALIBRATION, evaluation.calibration)
    write_noun(folder, RECIPE, recipe_of(config, data, trained))
    write_holdout(folder / HOLDOUT, data)
    (folder / MODEL_CARD).write_text(card, encoding="utf-8")
    return seal_bundle(folder)


def _reference(data: PreparedData, evaluation: Evaluation) -> ReferenceProfile:
    predictions = predictions_of(data.target, evaluation.training_scores)
    regression = data.target.task == "regression"
    text = [feature.name for feature in data.pipeline.text]
    return build_reference(data.training, data.schema, predictions, regression, text)


def write_weights(path: Path, trained: TrainedModel) -> None:
    """Every member's arrays, named ``<member>.<array>``, as safetensors: numbers, no code."""
    from safetensors.numpy import save_file

    arrays = {
        f"{number}.{name}": np.ascontiguousarray(np.asarray(value))
        for number, member in enumerate(trained.members)
        for name, value in member.fitted.weights.items()
    }
    try:
        save_file(arrays, path)
    except Exception as error:  # safetensors' own error class is not public
        raise TrainingError(f"the weights cannot be written as numbers: {error}") from error


def signature_of(
    model: str, pipeline: FeaturePipeline, target: Target, data: PreparedData
) -> Signature:
    """What a request must hold: numbers as FP64, categories and texts as BYTES."""
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
