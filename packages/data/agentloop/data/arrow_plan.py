"""Look at a source's rows once, before Ray is needed, and plan the pass over all of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from agentloop.contracts.data import DataSchema
from agentloop.contracts.spec import DataSourceConfig
from agentloop.data.arrow_block import NUMERIC, numbers_of
from agentloop.data.arrow_cast import cast_column, infer_kind, normalise
from agentloop.data.arrow_source import Extract
from agentloop.data.batch import Accepted, Scale, ScanPlan
from agentloop.data.schema import Kinds, resolve_schema, undeclared_drops

SAMPLE_ROWS = 100_000


def plan_scan(
    extract: Extract, config: DataSourceConfig, last: Accepted | None
) -> tuple[ScanPlan, tuple[str, ...]]:
    """The plan, and remarks on the configuration. Raises TargetMissing, SchemaMismatch."""
    head = extract.head
    arrays = {
        name: normalise(head.column(name), config.missing, extract.from_text)
        for name in head.column_names
        if name not in config.drop
    }
    kinds: Kinds = {
        name: infer_kind(array, name == config.target, extract.from_text)
        for name, array in arrays.items()
    }
    schema = resolve_schema(kinds, config, extract.source, last.schema if last else None)
    plan = ScanPlan(
        schema,
        config.missing,
        extract.from_text,
        config.checks.on_failure,
        tuple(_scales(arrays, schema)),
    )
    return plan, undeclared_drops(head.column_names, config)


def _scales(arrays: dict[str, pa.Array], schema: DataSchema) -> Iterator[Scale]:
    """Centre and spread of every number column that has a spread, from evenly spaced rows.

    Sigma is the larger of 1.4826·MAD and IQR / 1.349: the first alone calls one hump of a column
    with two an anomaly.
    """
    for column in schema.features:
        if column.kind not in NUMERIC:
            continue
        array = arrays[column.name]
        step = max(1, len(array) // SAMPLE_ROWS)
        sample, _ = cast_column(array.take(pa.array(np.arange(0, len(array), step))), column.kind)
        values = numbers_of(sample)
        values = values[np.isfinite(values)]
        if values.size:
            with np.errstate(over="ignore", invalid="ignore"):
                low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
                mad = float(np.median(np.abs(values - median)))
                sigma = max(1.4826 * mad, (high - low) / 1.349)
            if 0 < sigma < np.inf:
                yield Scale(column.name, float(median), float(sigma))
