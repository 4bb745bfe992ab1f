"""Training: from a dataset version to a registered, sealed model version."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from agentloop.training.config import TrainingConfig
from agentloop.training.pipeline import ModelTrainingPipeline
from agentloop.training.registration import Candidate, ModelRegistry

if TYPE_CHECKING:
    from agentloop.lifecycle.mlflow_store import prepare_tracking
    from agentloop.training.mlflow_tracker import MLflowTracker

__all__ = [
    "Candidate",
    "MLflowTracker",
    "ModelRegistry",
    "ModelTrainingPipeline",
    "TrainingConfig",
    "prepare_tracking",
]

# Adapters of heavy libraries are imported when they are first asked for.
_LAZY = {
    "MLflowTracker": "agentloop.training.mlflow_tracker",
    "prepare_tracking": "agentloop.lifecycle.mlflow_store",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'agentloop.training' has no attribute '{name}'")
