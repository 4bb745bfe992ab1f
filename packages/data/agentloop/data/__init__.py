"""Ingestion: from a source to a checked, profiled, versioned dataset.

The names are loaded on first use, so that importing the package stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentloop.contracts.data import DataBatch, DatasetVersion
    from agentloop.contracts.errors import DataQualityError
    from agentloop.contracts.spec import DataSourceConfig
    from agentloop.data.csv_header import check_header
    from agentloop.data.fingerprint import source_fingerprint
    from agentloop.data.pipeline import DataIngestionPipeline
    from agentloop.data.profiler import DataProfiler
    from agentloop.data.validator import DataValidator

__all__ = [
    "DataBatch",
    "DataIngestionPipeline",
    "DataProfiler",
    "DataQualityError",
    "DataSourceConfig",
    "DataValidator",
    "DatasetVersion",
    "check_header",
    "source_fingerprint",
]

_HOMES = {
    "DataBatch": "agentloop.contracts.data",
    "DataIngestionPipeline": "agentloop.data.pipeline",
    "DataProfiler": "agentloop.data.profiler",
    "DataQualityError": "agentloop.contracts.errors",
    "DataSourceConfig": "agentloop.contracts.spec",
    "DataValidator": "agentloop.data.validator",
    "DatasetVersion": "agentloop.contracts.data",
    "check_header": "agentloop.data.csv_header",
    "source_fingerprint": "agentloop.data.fingerprint",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
