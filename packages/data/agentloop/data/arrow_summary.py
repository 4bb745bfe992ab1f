"""Summaries of the columns of one row group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from agentloop.contracts.data import ColumnSchema, DataSchema
from agentloop.data.arrow_checks import numbers_of
from agentloop.data.arrow_text_hash import hash_strings
from agentloop.data.sketch import Hashes, Summary, hash_numbers, summarise_numbers, summarise_texts


def summarise_group(group: pa.Table, schema: DataSchema, keep_all: bool) -> dict[str, Summary]:
    """One summary a column. With ``keep_all`` (a batch of one group) every number is kept, so that
    small data are profiled exactly."""
    return {c.name: _summarise(group.column(c.name), c, keep_all) for c in schema.columns}


def column_keys(column: Any) -> Hashes:
    """uint64 (rows,): equal for equal values. Integers and times are as they are: identifiers past
    2**53 would meet one another as floats. Texts are hashed to 64 bits: among 30 million different
    ones two meet with a probability of 0.002%."""
    array = column.combine_chunks()
    if pa.types.is_string(array.type):
        return hash_strings(array.fill_null(""))
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    if pa.types.is_timestamp(array.type) or pa.types.is_integer(array.type):
        plain: Hashes = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        return plain.view(np.uint64)
    return hash_numbers(np.nan_to_num(numbers_of(array)))


def _summarise(column: Any, spec: ColumnSchema, keep_all: bool) -> Summary:
    if spec.kind in ("category", "text"):
        return _summarise_texts(column)
    nulls = column.null_count
    valid = column.drop_null() if nulls else column
    if spec.kind in ("integer", "datetime"):
        whole = valid.cast(pa.int64()).combine_chunks().to_numpy(zero_copy_only=False)
        return summarise_numbers(whole, nulls, keep_all, 1e6 if spec.kind == "datetime" else 1.0)
    plain = valid.cast(pa.uint8()) if spec.kind == "boolean" else valid
    values = numbers_of(plain.combine_chunks())
    finite = np.isfinite(values)
    return summarise_numbers(values if finite.all() else values[finite], nulls, keep_all)


def _summarise_texts(column: Any) -> Summary:
    encoded = column.combine_chunks().dictionary_encode()
    nulls = column.null_count
    indices = encoded.indices.drop_null().to_numpy(zero_copy_only=False)
    dictionary = encoded.dictionary
    counted = np.bincount(indices, minlength=len(dictionary))
    pairs = zip(dictionary.to_pylist(), counted.tolist(), strict=True)
    return summarise_texts(dict(pairs), nulls, hash_strings(dictionary))
