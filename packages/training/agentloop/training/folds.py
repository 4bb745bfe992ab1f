"""Which training rows validate: parted by the same kind of rule as the test split was.

A model is chosen by how it does on its validation rows, so those must be as far from what it
learnt as the test rows are: of other groups, or later. What is later must not teach about what is
earlier, so rows in order of time give one fold, however many are asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.data import DataSchema
from agentloop.contracts.errors import TrainingError
from agentloop.contracts.spec import SplitSpec
from agentloop.lifecycle.arrow_split import split_mask, split_rows, train_count
from agentloop.lifecycle.raw_values import to_texts
from agentloop.lifecycle.split_text import distinct_of, texts_of
from agentloop.training.fits import Fold

VALIDATION_SHARE = 0.2
# A seed of its own, so that the validation part does not follow the test split's pattern.
VALIDATION_SEED_OFFSET = 1_000_003
CLASS_KINDS = ("category", "boolean", "text")

Columns = Mapping[str, npt.NDArray[Any]]
Numbers = npt.NDArray[np.int64]


def part_training(
    training: Columns, rows: int, split: SplitSpec, schema: DataSchema, seed: int, folds: int
) -> tuple[Fold, ...]:
    """``folds`` ways to part the training rows (raw columns ``training``, (rows,) each).

    One fold validates on a fifth of the rows; of more, each row validates in exactly one. By
    ``time`` (or ``value`` of a datetime) and ``order`` there is one fold, whose last fifth
    validates. By ``group``, and by ``hash`` of a column with repeats, rows of a group stay
    together. Otherwise rows fall at random; several folds have each class in equal shares.

    A class must be learnt to be validated: where all its rows would validate, they train instead
    if rows fall at random, and are left out of the fold if not. Raises TrainingError where the
    rows cannot be parted so.
    """
    classes = _classes_of(training, rows, schema)
    parted, at_random = _part(training, rows, split, schema, seed, folds, classes)
    return tuple(_learnable(fold, classes, at_random) for fold in parted)


def _part(
    training: Columns,
    rows: int,
    split: SplitSpec,
    schema: DataSchema,
    seed: int,
    folds: int,
    classes: Numbers,
) -> tuple[tuple[Fold, ...], bool]:
    """The folds, and whether they are at random."""
    if rows < max(2, folds):
        raise TrainingError(f"{rows} training rows cannot be parted in {max(2, folds)}")
    if split.by == "order":
        return (_fold(np.arange(rows) >= train_count(rows, VALIDATION_SHARE)),), False
    name = split.column
    if name is None or split.by == "row":
        return _at_random(classes, seed, folds), True
    values = training[name]
    if split.by == "time" or (split.by == "value" and _is_forward(schema, split, values)):
        return (_latest(values, rows, name),), False
    if split.by == "group" or (split.by == "hash" and len(distinct_of(values)[0]) < rows):
        return _by_group(values, split, seed, folds), False
    return _at_random(classes, seed, folds), True


def _classes_of(training: Columns, rows: int, schema: DataSchema) -> Numbers:
    """int64 (rows,): the number of each row's class; all zero for regression."""
    if schema.column(schema.target).kind not in CLASS_KINDS:
        return np.zeros(rows, np.int64)
    labels = np.array(to_texts(training[schema.target]), object)
    return distinct_of(labels)[1].astype(np.int64)


def _learnable(fold: Fold, classes: Numbers, at_random: bool) -> Fold:
    known = np.isin(classes[fold.tune], classes[fold.fit])
    if known.all() or not len(fold.fit):
        return fold
    fit = np.sort(np.concatenate([fold.fit, fold.tune[~known]])) if at_random else fold.fit
    return Fold(fit, fold.tune[known])


def _at_random(classes: Numbers, seed: int, folds: int) -> tuple[Fold, ...]:
    rows, seed = len(classes), seed + VALIDATION_SEED_OFFSET
    if folds == 1:
        return (_fold(split_mask(rows, SplitSpec(test=VALIDATION_SHARE, seed=seed))),)
    # Rows of a class in random order, dealt out like cards.
    shuffled = np.lexsort((np.random.default_rng(seed).random(rows), classes))
    number = np.empty(rows, np.int64)
    number[shuffled] = np.arange(rows) % folds
    return _numbered(number, folds)


def _by_group(
    values: npt.NDArray[Any], split: SplitSpec, seed: int, folds: int
) -> tuple[Fold, ...]:
    unique, places = distinct_of(values)
    sizes = np.bincount(places, minlength=len(unique))
    if len(unique) < max(2, folds):
        reason = (
            f"the training rows have {len(unique)} different values of '{split.column}', "
            f"too few for {max(2, folds)} parts of whole groups"
        )
        raise TrainingError(reason, next_step="lower model.search.folds, or change data.split")
    salt = f"{split.salt}:validation:{seed}"
    keys = [hashlib.sha256(f"{salt}:{key}".encode()).digest() for key in texts_of(unique)]
    order = sorted(range(len(unique)), key=keys.__getitem__)
    if folds == 1:
        return (_fold(_first_groups(sizes, order)[places]),)
    # The largest first, each to the fold with the fewest rows (as scikit-learn's GroupKFold).
    number, filled = np.zeros(len(unique), np.int64), np.zeros(folds, np.int64)
    for group in sorted(order, key=lambda group: -int(sizes[group])):
        number[group] = int(filled.argmin())
        filled[number[group]] += sizes[group]
    return _numbered(number[places], folds)


def _first_groups(sizes: Numbers, order: list[int]) -> npt.NDArray[np.bool_]:
    """bool (groups,): the first groups in ``order`` whose rows come nearest to the share."""
    upto = np.cumsum(sizes[order])[:-1]
    count = 1 + int(np.argmin(np.abs(upto - VALIDATION_SHARE * sizes.sum())))
    chosen = np.zeros(len(sizes), bool)
    chosen[order[:count]] = True
    return chosen


def _latest(values: npt.NDArray[Any], rows: int, name: str) -> Fold:
    by_time = SplitSpec(test=VALIDATION_SHARE, by="time", column=name)
    later = split_rows({name: values}, rows, by_time)
    if not later.any():
        reason = f"'{name}' has the same time in all training rows: none of them is later"
        raise TrainingError(reason, next_step="change data.split, or train on more times")
    return _fold(later)


def _is_forward(schema: DataSchema, split: SplitSpec, values: npt.NDArray[Any]) -> bool:
    """Whether a split by value is one by time: of a datetime with more than one left to train."""
    kind = schema.column(split.column or "").kind
    return kind == "datetime" and len(distinct_of(values[~np.isnan(values)])[0]) > 1


def _numbered(number: Numbers, folds: int) -> tuple[Fold, ...]:
    return tuple(_fold(number == fold) for fold in range(folds))


def _fold(tune: npt.NDArray[np.bool_]) -> Fold:
    return Fold(np.flatnonzero(~tune), np.flatnonzero(tune))
