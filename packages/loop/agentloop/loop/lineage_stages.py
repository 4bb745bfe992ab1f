"""What each stage of the loop reads and makes, out of its arguments and its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from agentloop.contracts import DatasetVersion, ModelVersion, from_dict
from agentloop.data.lineage import dataset_lineage
from agentloop.lifecycle.lineage import ColumnInput, LineageAssertion, LineageDataset

PREDICTION = "prediction"
_TOLD = {
    "train": "Trains and registers a version of {0}.",
    "validate": "Tests a version of {0} and decides whether it may be served.",
    "deploy": "Moves the traffic of {0} to a version.",
}


@dataclass(frozen=True, slots=True)
class StageLineage:
    """``attempt`` tells apart runs of one stage within one run of the loop: another round of
    training, another version."""

    name: str
    model: str
    description: str
    attempt: str
    inputs: tuple[LineageDataset, ...] = ()
    outputs: tuple[LineageDataset, ...] = ()


def stage_start(
    stage: str, model: str, given: tuple[Any, ...], namespace: str
) -> StageLineage | None:
    """What is known when the stage begins. None for a stage that tells its own lineage (ingest),
    or makes nothing (monitor)."""
    if stage not in _TOLD:
        return None
    told = _TOLD[stage].format(model)
    if stage == "train":
        dataset = from_dict(DatasetVersion, given[0])
        read = [dataset_lineage(dataset, namespace)]
        return StageLineage(stage, model, told, str(given[1]), tuple(read))
    version = from_dict(ModelVersion, given[0])
    read = [model_lineage(version, namespace)]
    if stage == "validate":
        name = f"dataset/{version.model}"
        read.append(LineageDataset("dataset", namespace, name, version.data_version))
    return StageLineage(stage, model, told, version.version, tuple(read))


def stage_end(
    begun: StageLineage, given: tuple[Any, ...], value: Mapping[str, Any], namespace: str
) -> StageLineage:
    """The same stage with what its outcome's ``value`` tells of what it made."""
    if begun.name == "train":
        dataset = from_dict(DatasetVersion, given[0])
        version = from_dict(ModelVersion, value["model_version"])
        model = _trained(model_lineage(version, namespace), dataset, namespace)
        return replace(begun, outputs=(model,))
    version = from_dict(ModelVersion, given[0])
    if begun.name == "validate":
        return _judged(begun, version, value, namespace)
    return replace(begun, outputs=(_served(version, value, namespace),))


def model_lineage(version: ModelVersion, namespace: str) -> LineageDataset:
    """A registered version, as a dataset whose column is its prediction."""
    metrics = ", ".join(
        f"{name} {value:.4g}"
        for name, value in sorted(version.metrics.items())
        if not name.startswith(("train_", "val_"))
    )
    return LineageDataset(
        kind="model",
        namespace=namespace,
        name=f"model/{version.model}",
        version=version.version,
        description=metrics or f"A version of {version.model}.",
        uri=version.artifact_uri,
        columns={PREDICTION: "number or category"},
    )


def _trained(model: LineageDataset, dataset: DatasetVersion, namespace: str) -> LineageDataset:
    """Every feature takes part in a prediction: what the network made of it is not looked into."""
    told = f"trained to predict '{dataset.schema.target}'"
    kind = dataset.schema.column(dataset.schema.target).kind
    features = tuple(
        ColumnInput(namespace, f"dataset/{dataset.name}", column.name, "TRANSFORMATION", told)
        for column in dataset.schema.features
    )
    return replace(model, columns={PREDICTION: kind}, origins={PREDICTION: features})


def _judged(
    begun: StageLineage, version: ModelVersion, value: Mapping[str, Any], namespace: str
) -> StageLineage:
    approved = bool(value["approved"])
    verdict = "approved" if approved else "rejected"
    reasons = "; ".join(value.get("reasons", ()))
    model, *others = begun.inputs
    gate = LineageAssertion("deployment_approved", approved, description=reasons)
    report = LineageDataset(
        kind="report",
        namespace=namespace,
        name=f"report/{version.model}",
        version=version.version,
        description=f"{verdict}: {reasons}" if reasons else verdict,
        uri=f"file:{value['report']}" if value.get("report") else "",
        file_format="html",
    )
    return replace(begun, inputs=(replace(model, assertions=(gate,)), *others), outputs=(report,))


def _served(version: ModelVersion, value: Mapping[str, Any], namespace: str) -> LineageDataset:
    endpoint = str(value.get("endpoint", ""))
    source = ColumnInput(namespace, f"model/{version.model}", PREDICTION)
    return LineageDataset(
        kind="endpoint",
        namespace=namespace,
        name=f"endpoint/{version.model}",
        version=version.version,
        description=f"{endpoint} answers with {version.version}." if endpoint else "",
        uri=endpoint,
        columns={PREDICTION: "number or category"},
        origins={PREDICTION: (source,)},
    )
