"""Export, check, seal and log: what ``log_artifacts`` leaves in the run."""

from __future__ import annotations

from agentloop.contracts.codec import canonical_json, to_dict
from agentloop.training.bundle_arrow import write_bundle
from agentloop.training.config import TrainingConfig
from agentloop.training.dataset import PreparedData
from agentloop.training.evaluation import Evaluation
from agentloop.training.mlflow_tracker import MLflowTracker
from agentloop.training.model_card import model_card
from agentloop.training.report_html import report_page
from agentloop.training.run_plots import run_plots
from agentloop.training.trained import TrainedModel


def build_and_log(
    tracker: MLflowTracker,
    run_id: str,
    config: TrainingConfig,
    trained: TrainedModel,
    data: PreparedData,
    evaluation: Evaluation,
) -> tuple[str, str, dict[str, float]]:
    """The sealed bundle's digest, where the run keeps it, and all metrics.

    Raises TrainingError where the exported model does not answer as the members do.
    """
    from agentloop.training.onnx_export import check_parity, export_model

    folder = config.attempt_dir
    folder.mkdir(parents=True, exist_ok=True)
    onnx = folder / "model.onnx"
    members, head = evaluation.members, trained.head
    export_model(members, head, data.pipeline.width, onnx)
    difference = check_parity(members, head, onnx, data.test.features)
    metrics = {**evaluation.metrics, "onnx_max_difference": difference, **_rounds(trained)}
    card = model_card(config, data, trained, evaluation)
    bundle = folder / "bundle"
    digest = write_bundle(bundle, config, data, trained, evaluation, onnx, card)
    _log_run(tracker, run_id, config, trained, metrics)
    _log_pages(tracker, run_id, config, trained, data, evaluation, metrics, card)
    return digest, tracker.log_bundle(run_id, bundle), metrics


def _rounds(trained: TrainedModel) -> dict[str, float]:
    if len(trained.members) > 1:
        return {"members": float(len(trained.members))}
    return {"best_epoch": float(trained.members[0].fitted.best_epoch)}


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
    heaviest = max(trained.members, key=lambda member: member.weight)
    tracker.log_metrics(run_id, metrics, heaviest.fitted.history)
    if trained.search is not None:
        tracker.log_text(run_id, "search.json", canonical_json(to_dict(trained.search)))


def _log_pages(
    tracker: MLflowTracker,
    run_id: str,
    config: TrainingConfig,
    trained: TrainedModel,
    data: PreparedData,
    evaluation: Evaluation,
    metrics: dict[str, float],
    card: str,
) -> None:
    plots = run_plots(trained, data, evaluation)
    for name, svg in plots.items():
        tracker.log_text(run_id, f"plots/{name}.svg", svg)
    facts = [
        f"predicts {data.schema.target} ({data.target.task})",
        f"family {config.spec.family}",
        f"{config.dataset.rows:,} rows of {config.dataset.name} {config.dataset.version}",
    ]
    captions = {name.replace("_", " ").capitalize(): svg for name, svg in plots.items()}
    page = report_page(config.model, facts, metrics, trained, captions, card)
    tracker.log_text(run_id, "report.html", page)
