"""Serve model versions blue-green behind a weighted edge, judged by evidence."""

from typing import TYPE_CHECKING, Any

from agentloop.serving.control.rollout_plan import Bake as BakeStage
from agentloop.serving.control.rollout_plan import (
    PlanStage,
    Probe,
    Promote,
    Provision,
    Retire,
    RolloutPlan,
    Shadow,
    Shift,
    describe,
    held_to,
    label,
    plan_rollout,
    plan_stages,
)
from agentloop.serving.control.sqlite_control_store import SqliteControlStore
from agentloop.serving.control.store import (
    Bake,
    ControlStore,
    EdgeAddress,
    MemoryControlStore,
    Rollout,
    RolloutEvent,
    StagedVersion,
)
from agentloop.serving.endpoints import (
    control_store,
    infer_url,
    inside_url,
    read_endpoint,
    read_split,
)
from agentloop.serving.judging.decision import Evidence, Judgement, Limits, judge
from agentloop.serving.judging.label_reports import report_labels
from agentloop.serving.ports import Observer, ObserverFactory, ReportLoader, ServingPlane
from agentloop.serving.rollout.notice import AlertmanagerNotices, Announce, Notice, give_notice
from agentloop.serving.rollout.orders import RolloutOrders
from agentloop.serving.rollout.page import rollout_page
from agentloop.serving.rollout.reports import report_loader, report_path
from agentloop.serving.rollout.view import RolloutView, StageView, view_history, view_rollout
from agentloop.serving.run_folder import run_dir

if TYPE_CHECKING:
    from agentloop.serving.client.clients import AsyncClient, Client, ModelMetadata, Prediction
    from agentloop.serving.edge.haproxy_process import stop_edge
    from agentloop.serving.edge.serve_haproxy import serve_environment
    from agentloop.serving.ray_serve_plane import (
        RayServingPlane,
        start_serving_plane,
        stop_serving_plane,
    )
    from agentloop.serving.rollout.blue_green import BlueGreenDeployment

# Names whose modules import more than the standard library, numpy and pydantic.
_LAZY = {
    "AsyncClient": "client.clients",
    "BlueGreenDeployment": "rollout.blue_green",
    "Client": "client.clients",
    "ModelMetadata": "client.clients",
    "Prediction": "client.clients",
    "RayServingPlane": "ray_serve_plane",
    "start_serving_plane": "ray_serve_plane",
    "stop_serving_plane": "ray_serve_plane",
    "serve_environment": "edge.serve_haproxy",
    "stop_edge": "edge.haproxy_process",
}

__all__ = [
    "AlertmanagerNotices",
    "Announce",
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
    "Notice",
    "Observer",
    "ObserverFactory",
    "PlanStage",
    "Prediction",
    "Probe",
    "Promote",
    "Provision",
    "RayServingPlane",
    "ReportLoader",
    "Retire",
    "Rollout",
    "RolloutEvent",
    "RolloutOrders",
    "RolloutPlan",
    "RolloutView",
    "ServingPlane",
    "Shadow",
    "Shift",
    "SqliteControlStore",
    "StageView",
    "StagedVersion",
    "control_store",
    "describe",
    "give_notice",
    "held_to",
    "infer_url",
    "inside_url",
    "judge",
    "label",
    "plan_rollout",
    "plan_stages",
    "read_endpoint",
    "read_split",
    "report_labels",
    "report_loader",
    "report_path",
    "rollout_page",
    "run_dir",
    "serve_environment",
    "start_serving_plane",
    "stop_edge",
    "stop_serving_plane",
    "view_history",
    "view_rollout",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
