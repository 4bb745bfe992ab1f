"""Serve model versions blue-green behind a weighted edge, judged by evidence."""

from typing import TYPE_CHECKING, Any

from agentloop.serving.canary_judge import Evidence, Judgement, Limits, judge
from agentloop.serving.control_store import (
    Bake,
    ControlStore,
    EdgeAddress,
    MemoryControlStore,
    Rollout,
    RolloutEvent,
    StagedVersion,
)
from agentloop.serving.endpoints import control_store, infer_url, inside_url, read_endpoint, read_split
from agentloop.serving.ports import Observer, ObserverFactory, ReportLoader, ServingPlane
from agentloop.serving.reports import report_loader, report_path
from agentloop.serving.rollout_plan import Bake as BakeStage
from agentloop.serving.rollout_plan import PlanStage, Probe, Provision, Retire, Shift, plan_stages
from agentloop.serving.run_folder import run_dir
from agentloop.serving.sqlite_control_store import SqliteControlStore

if TYPE_CHECKING:
    from agentloop.serving.blue_green import BlueGreenDeployment
    from agentloop.serving.client import AsyncClient, Client, ModelMetadata, Prediction
    from agentloop.serving.haproxy_process import stop_edge
    from agentloop.serving.ray_serve_plane import (
        RayServingPlane,
        start_serving_plane,
        stop_serving_plane,
    )
    from agentloop.serving.serve_haproxy import serve_environment

# Names whose modules import more than the standard library, numpy and pydantic.
_LAZY = {
    "AsyncClient": "client",
    "BlueGreenDeployment": "blue_green",
    "Client": "client",
    "ModelMetadata": "client",
    "Prediction": "client",
    "RayServingPlane": "ray_serve_plane",
    "start_serving_plane": "ray_serve_plane",
    "stop_serving_plane": "ray_serve_plane",
    "serve_environment": "serve_haproxy",
    "stop_edge": "haproxy_process",
}

__all__ = [
    "AsyncClient",
    "Bake",
    "BakeStage",
    "BlueGreenDeployment",
    "Client",
    "ControlStore",
    "EdgeAddress",
    "Evidence",
    "Judgement",
    "Limits",
    "MemoryControlStore",
    "ModelMetadata",
    "Observer",
    "ObserverFactory",
    "PlanStage",
    "Prediction",
    "Probe",
    "Provision",
    "RayServingPlane",
    "ReportLoader",
    "Retire",
    "Rollout",
    "RolloutEvent",
    "ServingPlane",
    "Shift",
    "SqliteControlStore",
    "StagedVersion",
    "control_store",
    "infer_url",
    "inside_url",
    "judge",
    "plan_stages",
    "read_endpoint",
    "read_split",
    "report_loader",
    "report_path",
    "run_dir",
    "serve_environment",
    "start_serving_plane",
    "stop_edge",
    "stop_serving_plane",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
