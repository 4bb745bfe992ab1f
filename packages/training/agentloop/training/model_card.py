"""The model card: what a person should know before trusting a version. No times, no run ids, so
that the same training gives the same bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentloop.contracts.codec import canonical_json
from agentloop.contracts.data import DatasetVersion
from agentloop.training.dataset import PreparedData


def model_card(
    model: str,
    family: str,
    seed: int,
    dataset: DatasetVersion,
    data: PreparedData,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, float],
) -> str:
    """Markdown."""
    target = data.target
    lines = [
        f"# {model}",
        "",
        f"Predicts `{data.schema.target}` ({target.task}) from {len(data.pipeline.names)} columns.",
    ]
    if target.classes:
        lines.append(f"Classes: {', '.join(f'`{name}`' for name in target.classes)}.")
    lines += [
        "",
        "## Data",
        f"- dataset `{dataset.name}`, version `{dataset.version}`, {dataset.rows} rows",
        f"- content sha256 `{dataset.content_hash}`",
        f"- {len(data.fit.targets)} rows to train, {len(data.tune.targets)} to select",
        f"- {len(data.test.targets)} rows to test (held out, in `holdout.parquet`)",
        "",
        "## Model",
        f"- family `{family}`, seed {seed}",
        f"- parameters `{canonical_json(dict(parameters))}`",
        "",
        "## Measured on the held-out rows",
        *(f"- {name}: {value:.4f}" for name, value in sorted(metrics.items())),
        "",
        "## Limits",
        "Measured on rows that came with the training data.",
        "What live traffic does to these figures is monitored: see `reference_profile.json`.",
        "",
    ]
    return "\n".join(lines)
