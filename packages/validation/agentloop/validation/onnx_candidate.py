"""Load a verified bundle and its held-out rows: ONNX Runtime and Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.errors import ArtifactUnverified
from agentloop.contracts.models import ModelVersion
from agentloop.lifecycle.bundle import HOLDOUT, ModelBundle, open_bundle
from agentloop.lifecycle.features import Matrix, to_floats, to_texts
from agentloop.validation.candidate import Candidate


class OnnxScorer:
    """A bundle's model in ONNX Runtime on one CPU thread, as serving runs it."""

    def __init__(self, bundle: ModelBundle) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(bundle.model_path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its own error classes have no common public base
            reason = f"its model cannot be loaded ({str(error).splitlines()[0]})"
            raise ArtifactUnverified(str(bundle.path), reason) from None

    def __call__(self, matrix: Matrix) -> npt.NDArray[np.float32]:
        scores: npt.NDArray[np.float32] = self._session.run(["scores"], {"features": matrix})[0]
        return scores


def open_candidate(version: ModelVersion) -> tuple[ModelBundle, Candidate]:
    """The version's verified bundle, and its model with its own held-out rows.

    Raises ArtifactUnverified for a bundle that is not what was registered, or has no such rows.
    """
    bundle = open_bundle(Path(version.artifact_uri), version.digest)
    if not bundle.holdout_path.is_file():
        raise ArtifactUnverified(str(bundle.path), f"it has no {HOLDOUT} to be judged on")
    columns, truth = _read_holdout(bundle)
    if not len(truth):
        raise ArtifactUnverified(str(bundle.path), f"its {HOLDOUT} holds no rows")
    matrix = bundle.features.transform(columns)
    candidate = Candidate(
        bundle.signature, bundle.features, OnnxScorer(bundle), columns, truth, matrix
    )
    return bundle, candidate


def _read_holdout(bundle: ModelBundle) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(bundle.holdout_path).read()
        given = {name: table.column(name).to_pylist() for name in table.column_names}
        columns = {
            c.name: _column(given[c.name], text=c.datatype == "BYTES")
            for c in bundle.signature.inputs
        }
        regression = bundle.signature.task == "regression"
        return columns, _column(given[bundle.signature.target], text=not regression)
    except (pa.ArrowException, KeyError, ValueError) as error:
        reason = f"its {HOLDOUT} does not fit its signature ({error!r})"
        raise ArtifactUnverified(str(bundle.path), reason) from None


def _column(values: list[Any], text: bool) -> npt.NDArray[Any]:
    raw = np.array(values, object)
    return np.array(to_texts(raw), object) if text else to_floats(raw)
