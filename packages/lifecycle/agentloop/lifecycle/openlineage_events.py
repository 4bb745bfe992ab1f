"""A lineage event in OpenLineage's words (https://openlineage.io/spec/2-0-2/OpenLineage.json)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import Any

from openlineage.client import event_v2 as ol
from openlineage.client.facet_v2 import (
    column_lineage_dataset as lineage,
)
from openlineage.client.facet_v2 import (
    data_quality_assertions_dataset as assertions,
)
from openlineage.client.facet_v2 import (
    data_quality_metrics_dataset as metrics,
)
from openlineage.client.facet_v2 import (
    data_quality_metrics_input_dataset as input_metrics,
)
from openlineage.client.facet_v2 import (
    dataset_type_dataset,
    dataset_version_dataset,
    datasource_dataset,
    documentation_dataset,
    documentation_job,
    error_message_run,
    job_type_job,
    output_statistics_output_dataset,
    parent_run,
    processing_engine_run,
    schema_dataset,
    source_code_location_job,
    storage_dataset,
    symlinks_dataset,
)
from openlineage.client.serde import Serde

from agentloop.contracts.data import ColumnProfile, DataProfile
from agentloop.lifecycle.lineage import ColumnInput, LineageDataset, LineageEvent, LineageRun

PRODUCER = "urn:agentloop:lineage"
MAX_ERROR = 4_000
_TYPES = {
    "source": "TABLE",
    "dataset": "FILE",
    "model": "MODEL",
    "report": "JOB_OUTPUT",
    "endpoint": "STREAM",
}
# Whatever an error quotes, a password in a URL, or in libpq's form, is not passed on.
_SECRET_WORD = r"(?:(?:password|passwd|pwd|secret|api_?key)\w*|\bpass|\btoken)"
_SECRET_VALUE = r"""("[^"]*"|'[^']*'|[^\s&,;]+)"""
_SECRETS = (
    (re.compile(r"(\w[\w+.-]*://[^\s:@/?#]*):[^\s]*@"), r"\1:***@"),
    (re.compile(rf"(?i)({_SECRET_WORD}[\"']?\s*[=:]\s*){_SECRET_VALUE}"), r"\1***"),
)


def as_openlineage(event: LineageEvent) -> dict[str, Any]:
    """The event as a JSON-ready OpenLineage RunEvent. Raises ValueError for an id or a time that
    is none."""
    told = ol.RunEvent(
        eventType=ol.RunState[event.state],
        eventTime=event.at.astimezone(UTC).isoformat(timespec="milliseconds"),
        producer=PRODUCER,
        run=ol.Run(event.run.id, facets=_run_facets(event)),
        job=ol.Job(event.run.namespace, event.run.job, facets=_job_facets(event)),
        inputs=[_input(dataset) for dataset in event.inputs],
        outputs=[_output(dataset) for dataset in event.outputs],
    )
    return Serde.to_dict(_produced(told))


def without_secrets(text: str) -> str:
    """``text`` with ``***`` for the passwords in it."""
    for pattern, hidden in _SECRETS:
        text = pattern.sub(hidden, text)
    return text


def _produced(told: Any) -> Any:
    """The client stamps facets with its own producer; ours are ours."""
    sides = [*told.inputs, *told.outputs]
    groups = [told.run.facets, told.job.facets, *(side.facets for side in sides)]
    groups += [side.inputFacets for side in told.inputs]
    groups += [side.outputFacets for side in told.outputs]
    for facets in groups:
        for facet in facets.values():
            facet._producer = PRODUCER
    return told


def _run_facets(event: LineageEvent) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if event.error:
        message = without_secrets(event.error)[:MAX_ERROR]
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(message, "PYTHON")
    if event.engine:
        name, version = event.engine
        engine = processing_engine_run.ProcessingEngineRunFacet(version, name)
        facets["processing_engine"] = engine
    if event.run.parent:
        facets["parent"] = _parent(event.run.parent)
    return facets


def _parent(run: LineageRun) -> Any:
    root = run
    while root.parent is not None:
        root = root.parent
    return parent_run.ParentRunFacet(
        parent_run.Run(run.id),
        parent_run.Job(run.namespace, run.job),
        parent_run.Root(parent_run.RootRun(root.id), parent_run.RootJob(root.namespace, root.job)),
    )


def _job_facets(event: LineageEvent) -> dict[str, Any]:
    kind = "TASK" if event.run.parent else "JOB"
    facets: dict[str, Any] = {
        "jobType": job_type_job.JobTypeJobFacet("BATCH", "AGENTLOOP", kind),
    }
    if event.run.description:
        facets["documentation"] = documentation_job.DocumentationJobFacet(event.run.description)
    if event.code_version:
        facets["sourceCodeLocation"] = source_code_location_job.SourceCodeLocationJobFacet(
            "wheel", f"urn:agentloop:{event.code_version}", version=event.code_version
        )
    return facets


def _input(dataset: LineageDataset) -> Any:
    facets: dict[str, Any] = {}
    if dataset.profile is not None:
        facets["dataQualityMetrics"] = input_metrics.DataQualityMetricsInputDatasetFacet(
            _columns(dataset.profile, input_metrics.ColumnMetrics), rowCount=dataset.profile.rows
        )
    if dataset.assertions:
        facets["dataQualityAssertions"] = assertions.DataQualityAssertionsDatasetFacet(
            [
                assertions.Assertion(
                    a.assertion,
                    a.success,
                    a.column,
                    a.severity,
                    description=without_secrets(a.description) or None,
                )
                for a in dataset.assertions
            ]
        )
    return ol.InputDataset(
        dataset.namespace, dataset.name, facets=_facets(dataset), inputFacets=facets
    )


def _output(dataset: LineageDataset) -> Any:
    facets = _facets(dataset)
    if dataset.profile is not None:
        facets["dataQualityMetrics"] = metrics.DataQualityMetricsDatasetFacet(
            _columns(dataset.profile, metrics.ColumnMetrics), rowCount=dataset.profile.rows
        )
    statistics: dict[str, Any] = {}
    if dataset.rows is not None:
        statistics["outputStatistics"] = (
            output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(dataset.rows)
        )
    return ol.OutputDataset(dataset.namespace, dataset.name, facets=facets, outputFacets=statistics)


def _facets(dataset: LineageDataset) -> dict[str, Any]:
    kind = dataset_type_dataset.DatasetTypeDatasetFacet(_TYPES[dataset.kind], dataset.kind.upper())
    facets: dict[str, Any] = {"datasetType": kind}
    if dataset.version:
        version = dataset_version_dataset.DatasetVersionDatasetFacet(dataset.version)
        facets["version"] = version
    if dataset.description:
        facets["documentation"] = documentation_dataset.DocumentationDatasetFacet(
            dataset.description
        )
    if dataset.uri:
        facets["dataSource"] = datasource_dataset.DatasourceDatasetFacet(
            dataset.namespace, without_secrets(dataset.uri)
        )
    if dataset.file_format:
        facets["storage"] = storage_dataset.StorageDatasetFacet("default", dataset.file_format)
    if dataset.link:
        place = symlinks_dataset.Identifier(*dataset.link, "LOCATION")
        facets["symlinks"] = symlinks_dataset.SymlinksDatasetFacet([place])
    if dataset.columns is not None:
        facets["schema"] = _schema(dataset.columns)
    if dataset.origins is not None:
        facets["columnLineage"] = _origins(dataset.origins, dataset.filters)
    return facets


def _schema(columns: Mapping[str, str]) -> Any:
    return schema_dataset.SchemaDatasetFacet(
        [
            schema_dataset.SchemaDatasetFacetFields(name, kind, ordinal_position=place)
            for place, (name, kind) in enumerate(columns.items(), 1)
        ]
    )


def _origins(origins: Mapping[str, tuple[ColumnInput, ...]], filters: Iterable[ColumnInput]) -> Any:
    fields = {
        column: lineage.Fields([_column_input(source) for source in inputs])
        for column, inputs in origins.items()
    }
    return lineage.ColumnLineageDatasetFacet(fields, [_column_input(f) for f in filters])


def _column_input(source: ColumnInput) -> Any:
    kind = "INDIRECT" if source.how == "FILTER" else "DIRECT"
    how = lineage.Transformation(kind, source.how, source.description or "", masking=False)
    return lineage.InputField(source.namespace, source.dataset, source.column, [how])


def _columns(profile: DataProfile, kind: Any) -> dict[str, Any]:
    return {column.name: _metrics(column, kind) for column in profile.columns}


def _metrics(column: ColumnProfile, kind: Any) -> Any:
    """JSON has no infinity and no NaN: such a number is left out."""
    quantiles = {p: value for p, value in column.quantiles.items() if math.isfinite(value)}
    return kind(
        nullCount=column.nulls,
        distinctCount=column.distinct,
        count=column.count,
        min=_finite(column.minimum),
        max=_finite(column.maximum),
        quantiles=quantiles or None,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
