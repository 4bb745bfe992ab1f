"""The serving plane on a real Ray cluster: Serve applications behind the HAProxy edge."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray

from agentloop.contracts.errors import ClusterError, ModelNotServed
from agentloop.contracts.spec import ServingSpec
from agentloop.contracts.traffic import VersionTraffic
from agentloop.serving.control.store import EdgeAddress, StagedVersion
from agentloop.serving.edge.certificates import read_certificate
from agentloop.serving.edge.doorbell import ring
from agentloop.serving.edge.guards import (
    guards_of,
    load_guards,
    require_guarded,
    save_guards,
    with_inside,
)
from agentloop.serving.edge.haproxy_process import HaproxyProcess, check_port_free, free_port
from agentloop.serving.edge.ray_edge import EdgeSettings, edge_actor, find_edge_actor
from agentloop.serving.endpoints import control_store, inside_url
from agentloop.serving.naming import app_name
from agentloop.serving.ports import HttpAnswer, ObserverFactory, Replay
from agentloop.serving.replica.evidence import EvidencePlace
from agentloop.serving.rollout import http_probe
from agentloop.serving.run_folder import open_run_dir, run_dir

CALL_SECONDS = 20.0


class RayServingPlane:
    """A ServingPlane for the cluster that this process is connected to."""

    def __init__(
        self, home: Path, serving: ServingSpec, observer_factory: ObserverFactory | None = None
    ) -> None:
        self._home = home
        self._store = control_store(home)
        self._serving = serving
        self._observer_factory = observer_factory

    @property
    def url(self) -> str:
        address = self._store.address()
        if address is None:
            raise ModelNotServed("*")
        return address.url

    @property
    def inside_url(self) -> str:
        return inside_url(self._home)

    def provision(self, staged: StagedVersion) -> None:
        from ray import serve

        from agentloop.serving.replica.serve_replica import build_application, replica_settings

        name = app_name(staged.model, staged.version)
        status = _app_status(name)
        if status in ("RUNNING", "DEPLOYING"):
            return
        if status is not None:
            serve.delete(name)
        settings = replica_settings(staged, self._serving)
        settings = replace(settings, evidence=self._evidence_place(staged))
        application = build_application(settings, self._observer_factory)
        # Not serve.run: that waits for replicas, and the edge's health check knows sooner.
        target = serve.RunTarget(application, name=name, route_prefix=f"/{name}")
        serve.run_many([target], wait_for_applications_running=False)

    def _evidence_place(self, staged: StagedVersion) -> EvidencePlace | None:
        address, split = self._store.address(), self._store.split(staged.model)
        if address is None:
            return None
        stable = [
            s.bundle_path
            for s in self._store.staged()
            if split is not None and (s.model, s.version) == (split.model, split.stable)
        ]
        return EvidencePlace(
            str(run_dir(self._home)), address.serve_port, stable[0] if stable else None
        )

    def failure(self, staged: StagedVersion) -> str | None:
        from ray import serve

        app = serve.status().applications.get(app_name(staged.model, staged.version))
        if app is None or app.status.value not in ("DEPLOY_FAILED", "UNHEALTHY"):
            return None
        messages = [app.message, *(d.message for d in app.deployments.values())]
        return next((" ".join(m.split())[-300:] for m in messages if m), "its replicas failed")

    def retire(self, staged: StagedVersion) -> None:
        from ray import serve

        name = app_name(staged.model, staged.version)
        if _app_status(name) is not None:
            serve.delete(name, _blocking=False)

    def reconcile(self) -> None:
        ring(run_dir(self._home))
        ray.get(self._edge().reconcile.remote(), timeout=CALL_SECONDS)

    def traffic(self, model: str) -> Sequence[VersionTraffic]:
        found: list[VersionTraffic] = ray.get(
            self._edge().traffic.remote(model), timeout=CALL_SECONDS
        )
        return found

    def call(self, path: str, body: bytes | None = None) -> HttpAnswer:
        return http_probe.call(self.inside_url, path, body)

    def replay(self, path: str, bodies: Sequence[bytes], count: int) -> Replay:
        return http_probe.replay(self.inside_url, path, bodies, count)

    def _edge(self) -> Any:
        edge = find_edge_actor()
        if edge is None:
            raise ClusterError("the edge is not running", next_step="agentloop up")
        return edge


def start_serving_plane(
    home: Path, serving: ServingSpec, http_port: int | None = None
) -> EdgeAddress:
    """Start Serve and the edge on the connected cluster; what already runs is kept.

    ``http_port`` is Serve's own, behind the edge; None picks a free one. Before anything is started
    it raises EdgeExposed, CertificateUnusable, and PortInUse when ``serving.port`` is taken by
    another program.
    """
    guards = guards_of(serving)
    require_guarded(serving.host, guards)
    if guards.tls:
        read_certificate(guards.certificate, guards.key, datetime.now(UTC))
    store = control_store(home)
    folder = open_run_dir(home)
    known = store.address()
    port = _public_port(serving, known, HaproxyProcess(folder).pid is not None)
    save_guards(folder, with_inside(guards, serving.host, load_guards(folder), free_port()))
    serve_port = _start_serve(http_port)
    address = EdgeAddress(serving.host, port, serve_port, guards.tls)
    store.put_address(address)
    settings = EdgeSettings(str(store.path), str(folder))
    try:
        ray.get(edge_actor(settings).reconcile.remote(), timeout=CALL_SECONDS)
    except ray.exceptions.RayTaskError as error:
        store.put_address(None)
        raise error.as_instanceof_cause() from None
    return address


def stop_serving_plane(home: Path) -> None:
    """Stop the edge, and Serve if this process is connected to its cluster. Splits and staged
    versions stay in the control store, for ``restore``. Does nothing where nothing runs."""
    if (home / "control.db").exists():
        control_store(home).put_address(None)  # first, so that no pass of the edge restarts it
    if ray.is_initialized():
        from ray import serve

        edge = find_edge_actor()
        if edge is not None:
            _quietly(lambda: ray.get(edge.stop.remote(), timeout=5))
            ray.kill(edge, no_restart=True)
        _quietly(serve.shutdown)
    HaproxyProcess(run_dir(home)).stop()
    shutil.rmtree(run_dir(home), ignore_errors=True)


def max_body_bytes(serving: ServingSpec) -> int:
    return int(serving.max_body_mb * 1_000_000)


def _public_port(serving: ServingSpec, known: EdgeAddress | None, running: bool) -> int:
    ours = known is not None and running and known.host == serving.host
    if ours and known is not None and serving.port in (0, known.port):
        return known.port
    if serving.port == 0:
        return free_port(serving.host)
    check_port_free(serving.host, serving.port)
    return serving.port


def _start_serve(http_port: int | None) -> int:
    """The port of Serve's own proxy. Serve that runs keeps the port it has: a start that was cut
    off, or a RayService, may have chosen it without telling the control store."""
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        controller = ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve")
        running = ray.get(controller.get_http_config.remote(), timeout=CALL_SECONDS)
        return int(running.port)
    except ValueError:
        port = http_port or free_port()
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": "127.0.0.1", "port": port},
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )
    return port


def _app_status(name: str) -> str | None:
    from ray import serve

    app = serve.status().applications.get(name)
    status: str | None = app.status.value if app else None
    return status


def _quietly(action: Callable[[], Any]) -> None:
    try:
        action()
    except Exception as error:
        logging.getLogger(__name__).warning("stopping the serving plane: %s", error)
