"""One model version as a Ray Serve application of its own: immutable, in its own processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ray import serve

from agentloop.contracts.spec import AutoscaleSpec
from agentloop.lifecycle.bundle import ModelBundle, open_bundle
from agentloop.serving.onnx_predictor import OnnxPredictor
from agentloop.serving.ports import ObserverFactory
from agentloop.serving.replica_app import ReplicaApp

WARM_UP_ROWS = (1, 1, 32)
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """What a replica is made of. ``cpus`` is Ray's reservation, not a limit."""

    bundle_path: str
    digest: str
    version: str
    cpus: float = 0.2
    replicas: int | AutoscaleSpec = 1
    max_body_bytes: int = 8_000_000


@serve.ingress()
class ModelReplica:
    """Opens the verified bundle, warms the model, then answers HTTP."""

    def __init__(self, settings: ReplicaSettings, observer_factory: ObserverFactory | None) -> None:
        keep_on_loopback()
        bundle = open_bundle(Path(settings.bundle_path), settings.digest)
        predictor = OnnxPredictor(bundle)
        for rows in WARM_UP_ROWS:
            predictor.predict(blank_columns(bundle, rows))
        replica_id = serve.get_replica_context().replica_id.unique_id
        observer = (
            observer_factory(bundle, settings.version, replica_id) if observer_factory else None
        )
        self._app = ReplicaApp(
            bundle.signature, settings.version, predictor, observer, settings.max_body_bytes
        )

    def __serve_build_asgi_app__(self) -> ReplicaApp:
        return self._app


def keep_on_loopback() -> None:
    """On a cluster whose node is 127.0.0.1, bind the replica's internal gRPC server there too.

    Serve binds it to every interface, and it unpickles what it is sent. Serve has no setting for
    it and starts it after this class is made, so the helper that binds is wrapped here.
    """
    from ray.serve._private import replica
    from ray.util import get_node_ip_address

    bind = replica.add_port_to_grpc_server
    if get_node_ip_address() == LOOPBACK:
        replica.add_port_to_grpc_server = lambda server, address: bind(
            server, address.replace("[::]", LOOPBACK)
        )


def blank_columns(bundle: ModelBundle, rows: int) -> dict[str, Any]:
    """Raw columns (rows,) of nulls: what every pipeline accepts."""
    return {
        column.name: np.full(rows, np.nan)
        if column.datatype != "BYTES"
        else np.full(rows, None, dtype=object)
        for column in bundle.signature.inputs
    }


def _scale(replicas: int | AutoscaleSpec) -> dict[str, Any]:
    if isinstance(replicas, int):
        return {"num_replicas": replicas}
    scaling = {
        "min_replicas": replicas.min,
        "max_replicas": replicas.max,
        "target_ongoing_requests": replicas.target_ongoing,
    }
    return {"autoscaling_config": scaling}


def build_application(
    settings: ReplicaSettings, observer_factory: ObserverFactory | None
) -> serve.Application:
    """The Serve application of one version."""
    deployment = serve.deployment(
        ModelReplica,
        name="replica",
        **_scale(settings.replicas),
        ray_actor_options={"num_cpus": settings.cpus},
        max_ongoing_requests=256,
        health_check_period_s=2.0,
        health_check_timeout_s=5.0,
        graceful_shutdown_timeout_s=5.0,
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    application: serve.Application = deployment.bind(settings, observer_factory)
    return application
