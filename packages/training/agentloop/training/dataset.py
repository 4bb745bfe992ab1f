"""From raw columns to the matrices that a model is fitted, tuned and tested on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.data import DataSchema
from agentloop.contracts.errors import TrainingError
from agentloop.contracts.models import Task
from agentloop.contracts.spec import FeaturesSpec, SplitSpec
from agentloop.lifecycle.feature_layout import Layout, layout_of
from agentloop.lifecycle.features import FeaturePipeline, fit_features, to_floats, to_texts
from agentloop.training.fits import Fold, Part, Target
from agentloop.training.folds import CLASS_KINDS, part_training

Columns = dict[str, npt.NDArray[Any]]
Mask = npt.NDArray[np.bool_]

# With more than half as many classes as rows, a target is a name or a key, not a class.
MAX_CLASSES_PER_ROW = 0.5
MIN_SUSPICIOUS_CLASSES = 10
DROP_ROWS = "drop those rows (data.steps), or let data.checks quarantine them"


@dataclass(frozen=True, slots=True)
class RawData:
    """Raw columns of all rows, and which rows are the test split (bool (rows,))."""

    columns: Columns
    schema: DataSchema
    test: Mask


@dataclass(frozen=True, slots=True)
class PreparedData:
    """``train`` is the whole training split, ``folds`` ways to part it (the first is the one that
    is used where one is enough); ``test`` is looked at once, at the end.

    ``training`` and ``holdout`` are the raw columns of ``train`` and of ``test``.
    """

    pipeline: FeaturePipeline
    layout: Layout
    target: Target
    schema: DataSchema
    train: Part
    folds: tuple[Fold, ...]
    test: Part
    training: Columns
    holdout: Columns

    @property
    def fit(self) -> Part:
        """The first fold's rows to train on. A copy: ask once."""
        return self.train.rows(self.folds[0].fit)

    @property
    def tune(self) -> Part:
        """The first fold's rows to stop and select on. A copy: ask once."""
        return self.train.rows(self.folds[0].tune)


def prepare(
    raw: RawData, split: SplitSpec, features: FeaturesSpec, seed: int, folds: int = 1
) -> PreparedData:
    """Fit the features on the training split and part it in ``folds``.

    Nothing is fitted to a test row: neither features nor the target's scale. Raises TrainingError
    where the data cannot teach anything: a null or non-finite label, a single class, a class
    without training rows, a class for every other row, a datetime as target, no usable column, or
    a part without rows.
    """
    target, encoded = encode_target(raw)
    train = ~raw.test
    _check_parts(target, encoded, {"training": train, "test": raw.test})
    training = _select(raw.columns, train)
    parted = part_training(training, int(train.sum()), split, raw.schema, seed, folds)
    for fold in parted:
        _check_fold(target, encoded[train], fold)
    pipeline = fit_features(training, raw.schema, features)
    if pipeline.width == 0:
        raise TrainingError("no column but the target is a number, a category or a text")
    holdout = _select(raw.columns, raw.test)
    return PreparedData(
        pipeline=pipeline,
        layout=layout_of(pipeline),
        target=target,
        schema=raw.schema,
        train=Part(pipeline.transform(training), encoded[train]),
        folds=parted,
        test=Part(pipeline.transform(holdout), encoded[raw.test]),
        training=training,
        holdout=holdout,
    )


def encode_target(raw: RawData) -> tuple[Target, npt.NDArray[Any]]:
    """The target, and its rows as class positions (int64) or values (float64). The classes are
    those of all rows, so that test rows have a position too; each must have training rows."""
    name = raw.schema.target
    values = raw.columns[name]
    kind = raw.schema.column(name).kind
    if kind == "datetime":
        reason = f"the target '{name}' is a datetime: only numbers and classes can be predicted"
        raise TrainingError(reason, next_step="derive a number from it with data.steps")
    if kind not in CLASS_KINDS:
        return _encode_values(name, to_floats(values), ~raw.test)
    labels = label_texts(values)
    missing = sum(label is None for label in labels)
    if missing:
        reason = f"the target '{name}' is null in {missing} rows"
        raise TrainingError(reason, next_step=DROP_ROWS)
    classes = tuple(sorted({label for label in labels if label is not None}))
    if len(classes) > max(MIN_SUSPICIOUS_CLASSES, MAX_CLASSES_PER_ROW * len(labels)):
        reason = f"the target '{name}' has {len(classes)} different labels in {len(labels)} rows"
        raise TrainingError(f"{reason}: too few of each to learn", next_step="change data.target")
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
        reason = f"the target '{name}' is null or not finite in {bad} rows"
        raise TrainingError(reason, next_step=DROP_ROWS)
    seen = values[train]
    if not seen.size:
        raise _empty("training", len(values))
    with np.errstate(over="ignore", invalid="ignore"):
        scale = float(seen.std())
    if scale == 0:
        raise TrainingError(f"the target '{name}' has the same value in every training row")
    if not np.isfinite(scale):
        reason = f"the target '{name}' has values too large to square"
        raise TrainingError(reason, next_step="scale it with data.steps")
    return Target("regression", (), float(seen.mean()), scale), values


def _check_parts(target: Target, encoded: npt.NDArray[Any], parts: dict[str, Mask]) -> None:
    for name, mask in parts.items():
        if not mask.any():
            raise _empty(name, len(mask))
    if target.task != "regression":
        _check_classes(target, encoded[parts["training"]])


def _check_classes(target: Target, encoded: npt.NDArray[Any]) -> None:
    """Some models cannot even tell of a class that they never saw, and none can learn it."""
    rows = np.bincount(encoded, minlength=len(target.classes))
    if (rows > 0).sum() < 2:
        raise TrainingError("the training rows hold one class only: there is nothing to learn")
    unseen = [label for label, count in zip(target.classes, rows, strict=True) if not count]
    if unseen:
        shown = ", ".join(f"'{label[:60]}'" for label in unseen[:5])
        more = f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""
        reason = f"the test split has classes that no training row has: {shown}{more}"
        step = "drop or merge rare classes with data.steps, or change data.split"
        raise TrainingError(reason, next_step=step)


def _check_fold(target: Target, encoded: npt.NDArray[Any], fold: Fold) -> None:
    for name, rows in (("training", fold.fit), ("validation", fold.tune)):
        if not len(rows):
            raise _empty(name, len(encoded))
    if target.task != "regression" and len(np.unique(encoded[fold.fit])) < 2:
        raise TrainingError("the training rows hold one class only: there is nothing to learn")


def _empty(name: str, rows: int) -> TrainingError:
    return TrainingError(f"the {name} split of {rows} rows is empty: it needs more rows")


def _select(columns: Columns, mask: Mask) -> Columns:
    return {name: values[mask] for name, values in columns.items()}
