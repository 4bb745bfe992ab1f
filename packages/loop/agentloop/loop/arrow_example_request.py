"""A ready request for people to try: one held-out row of the model's own data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agentloop.contracts import ModelVersion
from agentloop.lifecycle import open_bundle
from agentloop.loop.home import StateFolder, write_json


def write_example_request(model: ModelVersion, home: StateFolder) -> Path:
    """Write the first held-out row as an Open Inference Protocol request and as plain columns;
    return the path of the request."""
    from pyarrow import parquet

    bundle = open_bundle(Path(model.artifact_uri), model.digest)
    row = next(parquet.ParquetFile(bundle.holdout_path).iter_batches(batch_size=1)).to_pylist()[0]
    inputs = bundle.signature.inputs
    values = [row[column.name] for column in inputs]
    if all(column.datatype == "FP64" for column in inputs) and None not in values:
        tensors: list[dict[str, Any]] = [
            {"name": "features", "datatype": "FP64", "shape": [1, len(values)], "data": values}
        ]
    else:
        tensors = [
            {"name": c.name, "datatype": c.datatype, "shape": [1], "data": [value]}
            for c, value in zip(inputs, values, strict=True)
        ]
    path = home.example_request(model.model)
    write_json(path, {"inputs": tensors})
    write_json(home.example_row(model.model), {c.name: row[c.name] for c in inputs})
    return path
