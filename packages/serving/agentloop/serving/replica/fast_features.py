"""A FeaturePipeline with its constants laid out once, for the request path.

``FeaturePipeline.transform`` builds its constant vectors a call, which is most of the cost of a
single row. The arithmetic here is the same, operation for operation; a test holds them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.lifecycle.features import (
    CLIP_SIGMAS,
    FeaturePipeline,
    fill_categories,
    to_floats,
    to_texts,
)
from agentloop.lifecycle.text_features import TextEncoder
from agentloop.serving.protocol.inference_request import MatrixColumns


class FastFeatures:
    """``transform`` equals ``FeaturePipeline.transform``."""

    def __init__(self, pipeline: FeaturePipeline) -> None:
        self._names = tuple(feature.name for feature in pipeline.numeric)
        self._fill = np.array([feature.fill for feature in pipeline.numeric])
        self._mean = np.array([feature.mean for feature in pipeline.numeric])
        self._scale = np.array([feature.scale for feature in pipeline.numeric])
        self._slots = [
            (f.name, {text: i for i, text in enumerate(f.categories)}) for f in pipeline.categorical
        ]
        self._texts = [TextEncoder(feature) for feature in pipeline.text]
        self._width = pipeline.width

    def transform(self, columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """float32 (rows, width) from raw columns (rows,). Raises KeyError, ValueError."""
        numbers_alone = len(self._names) == self._width
        if numbers_alone and isinstance(columns, MatrixColumns) and columns.names == self._names:
            return self._scaled(columns.matrix).astype(np.float32)
        first = next(iter(columns.values()))
        matrix = np.zeros((len(first), self._width), np.float32)
        start = len(self._names)
        if start:
            raw = np.stack([_floats(columns[name]) for name in self._names], axis=1)
            matrix[:, :start] = self._scaled(raw)
        for name, slots in self._slots:
            texts = to_texts(columns[name])
            if len(texts) == 1:
                slot = slots.get(texts[0]) if texts[0] is not None else None
                if slot is not None:
                    matrix[0, start + slot] = 1.0
            else:
                fill_categories(matrix, start, texts, slots)
            start += len(slots)
        for encoder in self._texts:
            width = encoder.feature.width
            encoder.fill(matrix[:, start : start + width], columns[encoder.feature.name])
            start += width
        return matrix

    def _scaled(self, raw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        missing = np.isnan(raw)
        if missing.any():
            raw = np.where(missing, self._fill, raw)
        scaled = raw - self._mean
        scaled /= self._scale
        # In place, and without np.clip's checks of its arguments.
        np.maximum(scaled, -CLIP_SIGMAS, out=scaled)
        np.minimum(scaled, CLIP_SIGMAS, out=scaled)
        return scaled


def _floats(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return values if values.dtype == np.float64 else to_floats(values)
