"""Validation: five suites, each an effect with its interval; one pure decision; a signed report."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from agentloop.validation.candidate import Candidate
from agentloop.validation.data_drift import RecentTraffic
from agentloop.validation.decision import REQUIRED, make_deployment_decision
from agentloop.validation.report_files import ReportPaths, render_html, report_paths, write_report
from agentloop.validation.suites import SUITES

if TYPE_CHECKING:
    from agentloop.validation.fake_replica import FakeReplica
    from agentloop.validation.onnx_candidate import open_candidate
    from agentloop.validation.pipeline import ModelValidationPipeline

__all__ = [
    "REQUIRED",
    "SUITES",
    "Candidate",
    "FakeReplica",
    "ModelValidationPipeline",
    "RecentTraffic",
    "ReportPaths",
    "make_deployment_decision",
    "open_candidate",
    "render_html",
    "report_paths",
    "write_report",
]

_LAZY = {
    "FakeReplica": "fake_replica",
    "ModelValidationPipeline": "pipeline",
    "open_candidate": "onnx_candidate",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
