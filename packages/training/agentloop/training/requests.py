"""What is asked of a family, from what loop.yaml says and what the data are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentloop.training.config import TrainingConfig
from agentloop.training.dataset import PreparedData
from agentloop.training.fits import FitRequest


def fit_request(
    config: TrainingConfig, data: PreparedData, family: str, parameters: Mapping[str, Any]
) -> FitRequest:
    """What is asked of ``family``, whose ``parameters`` are all given."""
    return FitRequest(
        family=family,
        layout=data.layout,
        target=data.target,
        parameters=dict(parameters),
        seed=config.spec.seed,
        base_dir=str(config.base_dir.absolute()),
        precision=config.spec.precision,
    )
