"""Which text columns a model reads."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from agentloop.contracts.data import DataSchema
from agentloop.contracts.errors import TrainingError
from agentloop.contracts.spec import FeaturesSpec
from agentloop.lifecycle.raw_values import to_texts
from agentloop.lifecycle.text_features import words_of

MIN_MEAN_WORDS = 3
SAMPLED_TEXTS = 10_000


def text_columns(
    columns: Mapping[str, npt.NDArray[Any]], schema: DataSchema, spec: FeaturesSpec
) -> tuple[str, ...]:
    """The named ones, or for ``auto`` those of kind text whose first texts (10,000 at most) average
    three words: fewer are names and codes. In the order of the schema.

    Raises TrainingError for a name that is no text column.
    """
    known = [column.name for column in schema.features if column.kind == "text"]
    if spec.text == "auto":
        return tuple(name for name in known if _is_prose(columns[name]))
    for name in spec.text:
        if name not in known:
            raise _unknown(name, known, schema)
    return tuple(name for name in known if name in spec.text)


def _is_prose(values: npt.NDArray[Any]) -> bool:
    texts = [text for text in to_texts(values) if text is not None][:SAMPLED_TEXTS]
    words = sum(len(words_of(text)) for text in texts)
    return bool(texts) and words >= MIN_MEAN_WORDS * len(texts)


def _unknown(name: str, known: list[str], schema: DataSchema) -> TrainingError:
    if name == schema.target:
        why = "is the target"
    elif name in schema.names:
        kind = schema.column(name).kind
        why = f"is of kind {kind}, not text (data.columns.{name}.kind can declare it one)"
    else:
        near = difflib.get_close_matches(name, known, n=1) or known[:5]
        hint = f"; text columns: {', '.join(near)}" if near else "; it has no text column"
        why = f"is not in the data{hint}"
    return TrainingError(f"model.features.text: '{name}' {why}", next_step="edit model.features")
