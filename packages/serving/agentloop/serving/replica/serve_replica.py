"""One model version as a Ray Serve application of its own: immutable, in its own processes."""

from __future__ import annotations

import gc
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ray import serve

from agentloop.contracts.spec import AutoscaleSpec, ServingSpec
from agentloop.contracts.spec_serving import BatchSpec
from agentloop.lifecycle.bundle import ModelBundle, open_bundle
from agentloop.serving.control.store import StagedVersion
from agentloop.serving.ports import ObserverFactory
from agentloop.serving.replica.app import ReplicaApp
from agentloop.serving.replica.batching import AUTO
from agentloop.serving.replica.evidence import EvidencePlace, replica_evidence
from agentloop.serving.replica.serve_lean_ingress import put_in_front
from agentloop.serving.replica.serve_predictors import load_predictor

WARM_UP_ROWS = (1, 1, 32)
LOOPBACK = "127.0.0.1"
SWITCH_SECONDS = 0.0005


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """What a replica is made of. ``cpus`` and ``gpus`` are Ray's reservation, not a limit."""

    bundle_path: str
    digest: str
    version: str
    cpus: float = 0.2
    replicas: int | AutoscaleSpec = 1
    max_body_bytes: int = 8_000_000
    gpus: float = 0.0
    batch: BatchSpec = AUTO
    max_ongoing: int = 256
    evidence: EvidencePlace | None = None


def replica_settings(staged: StagedVersion, serving: ServingSpec) -> ReplicaSettings:
    """A staged version's, by the ``serving`` section of loop.yaml."""
    return ReplicaSettings(
        staged.bundle_path,
        staged.digest,
        staged.version,
        serving.cpus,
        serving.replicas,
        int(serving.max_body_mb * 1_000_000),
        serving.gpus,
        serving.batch,
        serving.max_ongoing,
    )


@serve.ingress()
class ModelReplica:
    """Opens the verified bundle, warms the model, then answers HTTP."""

    def __init__(self, settings: ReplicaSettings, observer_factory: ObserverFactory | None) -> None:
        keep_on_loopback()
        bundle = open_bundle(Path(settings.bundle_path), settings.digest)
        predictor = load_predictor(bundle, settings.gpus)
        for rows in WARM_UP_ROWS:
            predictor.predict(blank_columns(bundle, rows))
        replica_id = serve.get_replica_context().replica_id.unique_id
        observer = (
            observer_factory(bundle, settings.version, replica_id) if observer_factory else None
        )
        self._app = ReplicaApp(
            bundle.signature,
            settings.version,
            predictor,
            observer,
            settings.max_body_bytes,
            batch=settings.batch,
            max_ongoing=settings.max_ongoing,
            reference=bundle.reference,
            evidence=replica_evidence(bundle, settings.version, settings.evidence)
            if settings.evidence
            else None,
        )
        put_in_front(self._app)
        keep_turns_short()

    def __serve_build_asgi_app__(self) -> ReplicaApp:
        return self._app


def keep_turns_short() -> None:
    """A small request must not wait long for a large one's thread, nor for a look at every object
    that was made before the first request."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()


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
        # Serve's defaults look back half a minute and wait for another one.
        "metrics_interval_s": 1.0,
        "look_back_period_s": 5.0,
        "upscale_delay_s": 3.0,
        "downscale_delay_s": 60.0,
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
        ray_actor_options={"num_cpus": settings.cpus, "num_gpus": settings.gpus},
        # The replica itself refuses what is over max_ongoing, with a typed answer; where Serve
        # keeps its own way to it, that must not wait in a queue of Serve's before.
        max_ongoing_requests=2 * settings.max_ongoing,
        health_check_period_s=2.0,
        health_check_timeout_s=5.0,
        graceful_shutdown_timeout_s=5.0,
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    application: serve.Application = deployment.bind(settings, observer_factory)
    return application
