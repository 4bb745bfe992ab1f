"""Which pictures a run gets."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from agentloop.training.dataset import PreparedData
from agentloop.training.evaluation import Evaluation
from agentloop.training.plots_svg import (
    confusion_plot,
    importance_plot,
    learning_curve,
    reliability_plot,
    residual_plot,
)
from agentloop.training.trained import TrainedModel

# Beyond this a confusion matrix is no longer a picture that a person reads.
MAX_PLOTTED_CLASSES = 30


def run_plots(trained: TrainedModel, data: PreparedData, evaluation: Evaluation) -> dict[str, str]:
    """SVG by name, in the order that a person wants them."""
    plots = {"learning_curve": _learning(trained)}
    classes, calibration = data.target.classes, evaluation.calibration
    if evaluation.confusion is not None and len(classes) <= MAX_PLOTTED_CLASSES:
        plots["confusion_matrix"] = confusion_plot(evaluation.confusion, classes)
    if calibration is not None and calibration.bins:
        bins = [(one.confidence, one.accuracy, one.count) for one in calibration.bins]
        plots["calibration"] = reliability_plot(bins)
    if data.target.task == "regression":
        plots["residuals"] = residual_plot(data.test.targets, evaluation.test_scores[:, 0])
    if evaluation.importances.columns:
        rows = [(one.column, one.mean, one.std) for one in evaluation.importances.columns]
        plots["importances"] = importance_plot(rows)
    if trained.search is not None and find_spec("agentloop.training.search_svg"):
        module = import_module("agentloop.training.search_svg")
        plots["search"] = module.search_plot(trained.search)
    return plots


def _learning(trained: TrainedModel) -> str:
    """Of the heaviest member: curves of different families share no axis."""
    member = max(trained.members, key=lambda one: one.weight)
    history = member.fitted.history
    return learning_curve(
        {
            f"{member.family}: training": [epoch.train_loss for epoch in history],
            f"{member.family}: validation": [epoch.val_loss for epoch in history],
        }
        if any(epoch.val_loss == epoch.val_loss for epoch in history)
        else {f"{member.family}: training": [epoch.train_loss for epoch in history]}
    )
