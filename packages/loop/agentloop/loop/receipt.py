"""How a run ended, from its stages' outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentloop.contracts import Decision, Receipt, StageTime


def build_receipt(
    model: str,
    outcomes: Mapping[str, Any],
    cluster_seconds: float,
    dashboard_url: str,
    mlflow_uri: str,
    traffic: Mapping[str, float],
) -> Receipt:
    """``outcomes`` maps a stage to ``{"seconds", "summary", "value"}``."""
    gate = outcomes["validate"]["value"]
    trained = outcomes["train"]["value"]
    deployed = outcomes.get("deploy", {}).get("value", {})
    endpoint = str(deployed.get("endpoint", ""))
    times = [StageTime("cluster", round(cluster_seconds, 3))]
    times += [StageTime(name, round(stage["seconds"], 3)) for name, stage in outcomes.items()]
    return Receipt(
        model=model,
        data_version=str(outcomes["ingest"]["value"]["version"]),
        model_version=str(trained["model_version"]["version"]),
        run_id=str(trained["run_id"]),
        metrics={
            k: v for k, v in trained["metrics"].items() if not k.startswith(("train_", "val_"))
        },
        decision=Decision(
            bool(gate["approved"]), tuple(gate["reasons"]), tuple(gate["recommendations"])
        ),
        endpoint=endpoint,
        metrics_url=str(outcomes.get("monitor", {}).get("value", {}).get("metrics_url", "")),
        mlflow_uri=mlflow_uri,
        dashboard_url=dashboard_url,
        stages=tuple(times),
        changed=True,
        traffic=dict(traffic),
        report=str(gate["report"]),
        curl=ready_curl(endpoint, str(deployed.get("request", ""))),
    )


def ready_curl(endpoint: str, request: str) -> str:
    """A command that a person can paste; empty where nothing is served."""
    if not endpoint:
        return ""
    return f"curl -s {endpoint} -H 'content-type: application/json' -d @{request}"
