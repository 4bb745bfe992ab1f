"""Rollouts by an operator's word: plan and apply one, look at it, pause, resume, abort it."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from agentloop.contracts import (
    DeploymentResult,
    LoopSpec,
    ModelNotServed,
    PlanOutdated,
    RolloutSpec,
    VersionNotFound,
    load_spec,
)
from agentloop.contracts.codec import from_dict
from agentloop.contracts.models import ModelVersion, Stage
from agentloop.lifecycle import Registry
from agentloop.loop.events import EventLog
from agentloop.loop.home import StateFolder
from agentloop.loop.operations import join_running_cluster, recalled_specs, remember_spec
from agentloop.serving import (
    Notice,
    Rollout,
    RolloutEvent,
    RolloutOrders,
    RolloutPlan,
    control_store,
    give_notice,
    inside_url,
    plan_rollout,
)

Order = Literal["pause", "resume", "abort"]

_CAN_BE_ROLLED_OUT = (Stage.STAGING, Stage.PRODUCTION, Stage.MONITORING)


def spec_of(home: StateFolder, model: str, path: Path) -> LoopSpec:
    """The spec of ``model``: the loop.yaml at ``path`` if it is this model's, else the one that the
    model was last deployed under. Raises SpecError, ModelNotServed."""
    if path.is_file():
        spec = load_spec(path)
        if spec.name == model:
            return spec
    for spec in recalled_specs(home):
        if spec.name == model:
            return spec
    raise ModelNotServed(model)


def which_model(home: StateFolder, asked: str | None, path: Path) -> str:
    """``asked``, else the model of the loop.yaml at ``path``, else the only one that is served.

    Raises SpecError, ModelNotServed.
    """
    if asked:
        return asked
    if path.is_file():
        return load_spec(path).name
    served = [split.model for split in control_store(home.root).splits()]
    if len(served) == 1:
        return served[0]
    raise ModelNotServed("?", next_step="name a model; agentloop status shows those that there are")


def plan_version(
    home: StateFolder, model: str, version: str | None, settings: RolloutSpec
) -> RolloutPlan:
    """The plan for a version of the registry: its whole name, its beginning, or None for the newest
    that the gate let through. Nothing is saved. Raises VersionNotFound."""
    from agentloop.lifecycle.mlflow_registry import MlflowRegistry

    found = _find_version(MlflowRegistry(home.tracking_uri), model, version)
    return plan_rollout(control_store(home.root).split(model), model, found.version, settings)


def read_plan(path: Path) -> RolloutPlan:
    """The plan that ``rollout plan --json`` printed into a file. Raises PlanOutdated."""
    try:
        return from_dict(RolloutPlan, json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise PlanOutdated("?", f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        first = str(error).splitlines()[0]
        raise PlanOutdated("?", f"{path} is no plan: {first}") from None


def apply_plan(
    home: StateFolder,
    environment: Mapping[str, str],
    spec: LoopSpec,
    plan: RolloutPlan,
    listen: Callable[[RolloutEvent], None],
) -> DeploymentResult:
    """Execute a plan on the running cluster, and keep the loop's books as a run does.

    Raises StaleCluster, PlanOutdated, RolloutConflict, RolloutOvertaken, ArtifactUnverified,
    DeploymentError.
    """
    cluster = join_running_cluster(home, environment)
    from agentloop.lifecycle.mlflow_registry import MlflowRegistry
    from agentloop.loop.retirement import archive_replaced
    from agentloop.loop.serving_setup import open_deployment
    from agentloop.monitoring import start_monitoring
    from agentloop.serving import start_serving_plane

    registry = MlflowRegistry(home.tracking_uri)
    start_serving_plane(home.root, spec.serving)
    deployment = open_deployment(spec, home, registry, environment, listen)
    result = asyncio.run(deployment.apply(plan))
    log, now = EventLog(home.events), datetime.now(UTC)
    log.append(result.status, plan.model, now, plan.version, **result.metrics)
    if result.status == "completed":
        for archived in archive_replaced(registry, plan.model):
            log.append("archived", plan.model, now, archived.version)
        remember_spec(home, spec)
        cluster.ready()
        version = registry.get(plan.model, plan.version)
        start_monitoring(spec.monitoring, version, home=home.root)
    return result


def give_order(
    home: StateFolder, environment: Mapping[str, str], model: str, order: Order
) -> tuple[Rollout, tuple[str, ...]]:
    """Pause, resume or abort the rollout under way; it, and what there is to say about it.

    Works from any process and joins no cluster. Raises NoRollout.
    """
    orders = RolloutOrders(control_store(home.root), time.time)
    by = _who()
    if order == "abort":
        rollout = orders.abort(model, by)
        EventLog(home.events).append("aborted", model, datetime.now(UTC), rollout.version)
        return rollout, (_after_abort(home, environment, rollout),)
    rollout = orders.pause(model, by) if order == "pause" else orders.resume(model, by)
    if rollout.is_live(time.time()):
        return rollout, ()
    return rollout, ("Its controller is gone, so traffic is on the stable version.",)


def _who() -> str:
    """Who gives an order; a container may know its user by number alone."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def _after_abort(home: StateFolder, environment: Mapping[str, str], rollout: Rollout) -> str:
    """See that the stable version answers, and tell people."""
    from agentloop.loop.serving_setup import announcer
    from agentloop.serving.rollout.log import RolloutLog

    store = control_store(home.root)
    split = store.split(rollout.model)
    stable = split.stable if split else ""
    trouble = _trouble(home, rollout.model, stable) if stable else ""
    now = time.time()
    notice = Notice(
        now, rollout.model, rollout.version, stable, "aborted", rollout.reasons, trouble
    )
    return give_notice(RolloutLog(store, rollout, time.time), announcer(environment), notice)


def _trouble(home: StateFolder, model: str, stable: str) -> str:
    """What is wrong with the stable version's answers; nothing is asked while the plane is down."""
    from agentloop.serving.rollout import http_probe
    from agentloop.serving.rollout.health_check import check_health

    try:
        url = inside_url(home.root)
    except ModelNotServed:
        return "the serving plane is down"
    example = home.example_request(model)
    bodies = [example.read_bytes()] if example.is_file() else []
    return check_health(lambda path, body: http_probe.call(url, path, body), model, stable, bodies)


def _find_version(registry: Registry, model: str, asked: str | None) -> ModelVersion:
    known = registry.versions(model)
    if asked is None:
        passed = [mv for mv in known if mv.stage in _CAN_BE_ROLLED_OUT]
        if not passed:
            raise VersionNotFound(model, "latest", next_step="agentloop run <loop.yaml>")
        return passed[-1]
    matching = [mv for mv in known if mv.version == asked] or [
        mv for mv in known if mv.version.startswith(asked)
    ]
    if len(matching) != 1:
        raise VersionNotFound(model, asked)
    return matching[0]


def with_strategy(settings: RolloutSpec, strategy: str | None) -> RolloutSpec:
    """The settings under another strategy."""
    if strategy is None:
        return settings
    return RolloutSpec.model_validate({**settings.model_dump(), "strategy": strategy})
