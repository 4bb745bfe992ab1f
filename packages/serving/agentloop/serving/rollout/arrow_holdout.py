"""Request bodies from a bundle's held-out rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from agentloop.lifecycle.bundle import ModelBundle, Signature

MAX_ROWS = 256


def probe_bodies(bundle: ModelBundle) -> list[bytes]:
    """One V2 ``infer`` body a held-out row, at most ``MAX_ROWS``; a row of nulls without any."""
    names = [column.name for column in bundle.signature.inputs]
    if not bundle.holdout_path.is_file():
        return [encode_row(dict.fromkeys(names), bundle.signature)]
    import pyarrow.parquet as pq

    file = pq.ParquetFile(bundle.holdout_path)
    rows = next(file.iter_batches(MAX_ROWS, columns=names), None)
    if rows is None or rows.num_rows == 0:
        return [encode_row(dict.fromkeys(names), bundle.signature)]
    return [encode_row(row, bundle.signature) for row in rows.to_pylist()]


def encode_row(row: Mapping[str, Any], signature: Signature) -> bytes:
    """The V2 body of one row: a tensor a column; NaN and None become null."""
    inputs = [
        {
            "name": column.name,
            "datatype": column.datatype,
            "shape": [1],
            "data": [_scalar(row[column.name], column.datatype)],
        }
        for column in signature.inputs
    ]
    return orjson.dumps({"inputs": inputs})


def _scalar(value: Any, datatype: str) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return str(value) if datatype == "BYTES" else float(value)
