"""From raw columns to the matrices that a model is fitted, tuned and tested on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.data import DataSchema
from agentloop.contracts.errors import TrainingError
from agentloop.contracts.models import Task
from agentloop.contracts.spec import SplitSpec
from agentloop.lifecycle.arrow_split import split_mask
from agentloop.lifecycle.features import FeaturePipeline, fit_features, to_floats, to_texts

Columns = dict[str, npt.NDArray[Any]]
Mask = npt.NDArray[np.bool_]

VALIDATION_SHARE = 0.2
# A seed of its own, so that the validation part does not follow the test split's pattern.
VALIDATION_SEED_OFFSET = 1_000_003
CLASS_KINDS = ("category", "boolean", "text")


@dataclass(frozen=True, slots=True)
class RawData:
    """Raw columns of all rows, and which rows are the test split (bool (rows,))."""

    columns: Columns
    schema: DataSchema
    test: Mask


@dataclass(frozen=True, slots=True)
class Target:
    """What is predicted: ``classes`` (sorted labels), or a value's ``mean`` and ``scale``."""

    task: Task
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0

    @property
    def outputs(self) -> int:
        """Columns of the model's output."""
        return len(self.classes) or 1


@dataclass(frozen=True, slots=True)
class Part:
    """``features``: float32 (rows, width). ``targets``: int64 (rows,) positions in the classes,
    or float64 (rows,) values for regression."""

    features: npt.NDArray[np.float32]
    targets: npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class PreparedData:
    """``fit`` trains, ``tune`` stops and selects, ``test`` is looked at once, at the end.

    ``training`` and ``holdout`` are raw columns: of ``fit`` and ``tune`` together (in row
    order), and of ``test``.
    """

    pipeline: FeaturePipeline
    target: Target
    schema: DataSchema
    fit: Part
    tune: Part
    test: Part
    training: Columns
    holdout: Columns


def prepare(raw: RawData, seed: int) -> PreparedData:
    """Fit the features on the training split and cut out the validation part.

    Raises TrainingError where the data cannot teach anything: a null or non-finite label, a
    single class, no usable column, or a part without rows.
    """
    target, encoded = encode_target(raw)
    train = ~raw.test
    tune = np.zeros(len(train), bool)
    share = SplitSpec(test=VALIDATION_SHARE, seed=seed + VALIDATION_SEED_OFFSET)
    tune[train] = split_mask(int(train.sum()), share)
    _check_parts(target, encoded, {"training": train & ~tune, "validation": tune, "test": raw.test})
    training = _select(raw.columns, train)
    pipeline = fit_features(training, raw.schema)
    if pipeline.width == 0:
        raise TrainingError("no column but the target is a number or a category")
    features = pipeline.transform(raw.columns)

    def part(mask: Mask) -> Part:
        return Part(features[mask], encoded[mask])

    return PreparedData(
        pipeline=pipeline,
        target=target,
        schema=raw.schema,
        fit=part(train & ~tune),
        tune=part(tune),
        test=part(raw.test),
        training=training,
        holdout=_select(raw.columns, raw.test),
    )


def encode_target(raw: RawData) -> tuple[Target, npt.NDArray[Any]]:
    """The target, and its rows as class positions (int64) or values (float64)."""
    name = raw.schema.target
    values = raw.columns[name]
    if raw.schema.column(name).kind not in CLASS_KINDS:
        return _encode_values(name, to_floats(values), ~raw.test)
    labels = label_texts(values)
    missing = sum(label is None for label in labels)
    if missing:
        raise TrainingError(f"the target '{name}' is null in {missing} rows")
    classes = tuple(sorted({label for label in labels if label is not None}))
    position = {label: index for index, label in enumerate(classes)}
    encoded = np.array([position[label] for label in labels if label is not None], np.int64)
    task: Task = "binary" if len(classes) == 2 else "multiclass"
    return Target(task, classes), encoded


def label_texts(values: npt.NDArray[Any]) -> list[str | None]:
    """Labels as text; booleans, which are stored as 0 and 1, as ``false`` and ``true``."""
    if values.dtype.kind == "f":
        return [None if np.isnan(v) else "true" if v else "false" for v in values]
    return to_texts(values)


def _encode_values(
    name: str, values: npt.NDArray[np.float64], train: Mask
) -> tuple[Target, npt.NDArray[np.float64]]:
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise TrainingError(f"the target '{name}' is null or not finite in {bad} rows")
    seen = values[train]
    scale = float(seen.std()) if seen.size else 0.0
    if scale <= 0:
        raise TrainingError(f"the target '{name}' has the same value in every training row")
    return Target("regression", (), float(seen.mean()), scale), values


def _check_parts(target: Target, encoded: npt.NDArray[Any], parts: dict[str, Mask]) -> None:
    for name, mask in parts.items():
        if not mask.any():
            raise TrainingError(
                f"the {name} split of {len(mask)} rows is empty: it needs more rows"
            )
    if target.task != "regression" and len(np.unique(encoded[parts["training"]])) < 2:
        raise TrainingError("the training rows hold one class only: there is nothing to learn")


def _select(columns: Columns, mask: Mask) -> Columns:
    return {name: values[mask] for name, values in columns.items()}
