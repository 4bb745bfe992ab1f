"""Export, check, seal and log: what ``log_artifacts`` leaves in the run."""

from __future__ import annotations

from agentloop.contracts.codec import canonical_json, to_dict
from agentloop.training.bundle_arrow import write_bundle
from agentloop.training.config import TrainingConfig
from agentloop.training.dataset import PreparedData
from agentloop.training.evaluation_torch import Evaluation
from agentloop.training.fitting_ray import TrainedModel, attempt_folder
from agentloop.training.mlflow_tracker import MLflowTracker
from agentloop.training.model_card import model_card
from agentloop.training.plots_svg import confusion_plot, learning_curve

# Beyond this a confusion matrix is no longer a picture that a person reads.
MAX_PLOTTED_CLASSES = 30


def build_and_log(
    tracker: MLflowTracker,
    run_id: str,
    config: TrainingConfig,
    trained: TrainedModel,
    data: PreparedData,
    evaluation: Evaluation,
) -> tuple[str, str, dict[str, float]]:
    """The sealed bundle's digest, where the run keeps it, and all metrics.

    Raises TrainingError where the exported model does not answer as torch does.
    """
    from agentloop.training.onnx_export import check_parity, export_onnx

    folder = attempt_folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    onnx = folder / "model.onnx"
    export_onnx(trained.served, data.pipeline.width, onnx)
    difference = check_parity(trained.served, onnx, data.test.features)
    metrics = {
        **evaluation.metrics,
        "onnx_max_difference": difference,
        "best_epoch": float(trained.fitted.best_epoch),
    }
    card = model_card(
        config.model,
        config.spec.family,
        config.spec.seed,
        config.dataset,
        data,
        trained.parameters,
        {k: v for k, v in evaluation.metrics.items() if not k.startswith(("train_", "val_"))},
    )
    bundle = folder / "bundle"
    digest = write_bundle(bundle, config.model, data, onnx, evaluation.training_scores, card)
    _log_run(tracker, run_id, config, trained, metrics)
    _log_plots(tracker, run_id, trained, data, evaluation)
    return digest, tracker.log_bundle(run_id, bundle), metrics


def _log_run(
    tracker: MLflowTracker,
    run_id: str,
    config: TrainingConfig,
    trained: TrainedModel,
    metrics: dict[str, float],
) -> None:
    params = {
        "family": config.spec.family,
        "seed": config.spec.seed,
        "num_workers": trained.workers,
        **trained.parameters,
    }
    tracker.log_inputs(run_id, config.dataset, params)
    tracker.log_metrics(run_id, metrics, trained.fitted.history)
    if trained.search is not None:
        tracker.log_text(run_id, "search.json", canonical_json(to_dict(trained.search)))


def _log_plots(
    tracker: MLflowTracker,
    run_id: str,
    trained: TrainedModel,
    data: PreparedData,
    evaluation: Evaluation,
) -> None:
    history = trained.fitted.history
    series = {
        "train loss": [epoch.train_loss for epoch in history],
        "validation loss": [epoch.val_loss for epoch in history],
    }
    tracker.log_text(run_id, "plots/learning_curve.svg", learning_curve(series))
    classes = data.target.classes
    if evaluation.confusion is not None and len(classes) <= MAX_PLOTTED_CLASSES:
        plot = confusion_plot(evaluation.confusion, classes)
        tracker.log_text(run_id, "plots/confusion_matrix.svg", plot)
