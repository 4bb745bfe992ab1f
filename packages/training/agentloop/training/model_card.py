"""The model card: what a person should know before trusting a version. No times, no run ids, so
that the same training gives the same bundle."""

from __future__ import annotations

from agentloop.contracts.codec import canonical_json
from agentloop.training.config import TrainingConfig
from agentloop.training.dataset import PreparedData
from agentloop.training.evaluation import Evaluation
from agentloop.training.recipe import installed_packages
from agentloop.training.trained import TrainedModel

MOST_IMPORTANT = 10


def model_card(
    config: TrainingConfig, data: PreparedData, trained: TrainedModel, evaluation: Evaluation
) -> str:
    """Markdown."""
    sections = [
        _head(config, data),
        ["## Data", *_data(config, data)],
        ["## Model", *_model(config, trained)],
        ["## Measured on the held-out rows", *_metrics(evaluation)],
        ["## Calibration", *_calibration(evaluation)],
        ["## What the answers rest on", *_importances(evaluation)],
        ["## Intended use and limits", *_limits(data)],
        ["## To make it again", *_again(config)],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _head(config: TrainingConfig, data: PreparedData) -> list[str]:
    target, columns = data.target, len(data.pipeline.names)
    lines = [
        f"# {config.model}",
        "",
        f"Predicts `{data.schema.target}` ({target.task}) from {columns} columns.",
    ]
    if target.classes:
        lines.append(f"Classes: {', '.join(f'`{name}`' for name in target.classes)}.")
    return lines


def _data(config: TrainingConfig, data: PreparedData) -> list[str]:
    dataset, fold = config.dataset, data.folds[0]
    lines = [
        f"- dataset `{dataset.name}`, version `{dataset.version}`, {dataset.rows} rows",
        f"- content sha256 `{dataset.content_hash}`",
        (
            f"- {len(data.train.targets)} rows to train; {len(data.folds)} ways to part them "
            f"(the first: {len(fold.fit)} to fit, {len(fold.tune)} to select)"
        ),
        f"- {len(data.test.targets)} rows to test (held out, in `holdout.parquet`)",
    ]
    if dataset.latest_time:
        lines.append(f"- rows up to {dataset.latest_time}")
    return lines


def _model(config: TrainingConfig, trained: TrainedModel) -> list[str]:
    spec, count = config.spec, len(trained.members)
    where = f"{trained.workers} workers" if trained.workers else "one process"
    fitted_on = "all training rows" if trained.refit else "the rows to fit"
    lines = [
        f"- family `{spec.family}`, seed {spec.seed}, fitted in {where} on {fitted_on}",
        f"- {count} members, whose raw scores are averaged by weight"
        if count > 1
        else "- one model",
    ]
    if trained.search is not None:
        lines.append(f"- chosen from {len(trained.search.trials)} trials")
    for member in trained.members:
        parameters = canonical_json(dict(member.parameters))
        lines.append(f"- weight {member.weight:.3f}: `{member.family}` `{parameters}`")
    return lines


def _metrics(evaluation: Evaluation) -> list[str]:
    return [
        f"- {name}: {value:.4f}"
        for name, value in sorted(evaluation.metrics.items())
        if not name.startswith(("train_", "val_"))
    ]


def _calibration(evaluation: Evaluation) -> list[str]:
    found = evaluation.calibration
    if found is None:
        return ["Not measured."]
    if found.ece_before is not None and found.ece_after is not None:
        return [
            (
                f"Temperature {found.temperature:.3f}. Expected calibration error on {found.rows} "
                f"rows that no member was fitted on: {found.ece_before:.4f} before it, "
                f"{found.ece_after:.4f} after."
            )
        ]
    shares = ", ".join(f"{100 * p:g}%: {value:.4g}" for p, value in found.residuals)
    return [f"Target less prediction on {found.rows} unseen rows, quantiles: {shares}."]


def _importances(evaluation: Evaluation) -> list[str]:
    found = evaluation.importances
    if not found.columns:
        return [f"Not measured: {found.note or 'no column'}."]
    lines = [f"Growth of the loss where a column is shuffled, on {found.rows} rows:", ""]
    lines += [
        f"- `{one.column}`: {one.mean:.4f} ± {one.std:.4f}"
        for one in found.columns[:MOST_IMPORTANT]
    ]
    more = len(found.columns) - MOST_IMPORTANT
    return [*lines, f"- and {more} more"] if more > 0 else lines


def _limits(data: PreparedData) -> list[str]:
    return [
        f"To predict `{data.schema.target}` for rows that come from where the training rows came.",
        "Measured on rows that came with the training data.",
        "What live traffic does to these figures is monitored: see `reference_profile.json`.",
        "That a column weighs much does not say that it is a cause.",
    ]


def _again(config: TrainingConfig) -> list[str]:
    packages = ", ".join(f"{name} {number}" for name, number in installed_packages().items())
    return [
        f"- `agentloop reproduce {config.model}` fits it again from `recipe.json` and compares",
        (
            f"- code `{config.code_version or 'unknown'}`, lock sha256 "
            f"`{config.lock_hash or 'unknown'}`"
        ),
        f"- {packages}",
    ]
