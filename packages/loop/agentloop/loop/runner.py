"""One run of the loop, from a checked spec to a receipt."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agentloop.contracts import LoopSpec, Receipt, from_dict, to_dict
from agentloop.data import check_header, source_fingerprint
from agentloop.loop.cluster import require_answer
from agentloop.loop.home import StateFolder, read_json, write_json
from agentloop.loop.preflight import check_family, check_ports
from agentloop.loop.progress import Progress
from agentloop.loop.run_keys import plan_run, run_key

ANSWER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What to run. ``environment`` is the process's own at its start."""

    spec: LoopSpec
    base_dir: Path
    home: StateFolder
    environment: Mapping[str, str]
    force: bool = False


def unchanged_receipt(request: RunRequest) -> Receipt | None:
    """The last run's receipt, if neither spec nor source changed and its version answers.

    Raises DataError when the source is gone.
    """
    began = time.monotonic()
    key = run_key(request.spec, source_fingerprint(request.spec.data, request.base_dir))
    last = read_json(request.home.last_run(request.spec.name))
    if request.force or not isinstance(last, dict) or last.get("key") != key:
        return None
    receipt = from_dict(Receipt, last["receipt"])
    if not answers_as(receipt):
        return None
    seconds = round(time.monotonic() - began, 3)
    stages = tuple(replace(stage, seconds=0.0) for stage in receipt.stages)
    check = replace(stages[0], name="check", seconds=seconds)
    return replace(receipt, changed=False, stages=(check, *stages))


def answers_as(receipt: Receipt) -> bool:
    """Whether the receipt's version is the one that answers at its endpoint, and is watched."""
    url = receipt.endpoint.removesuffix("/infer")
    try:
        with urllib.request.urlopen(f"{url}/ready", timeout=ANSWER_SECONDS) as answer:
            if answer.headers.get("x-model-version") != receipt.model_version:
                return False
        with urllib.request.urlopen(receipt.metrics_url, timeout=ANSWER_SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def run_loop(request: RunRequest, progress: Progress) -> Receipt:
    """Run every stage that is not done yet. Raises what a stage raises; the same request again
    goes on after the last finished stage."""
    from agentloop.loop.ray_cluster import RayCluster

    spec, home = request.spec, request.home
    cluster = RayCluster(home, request.environment)
    key = run_key(spec, source_fingerprint(spec.data, request.base_dir))
    _refuse_early(request)
    progress.started("cluster")
    cluster.begin()
    watcher = threading.Thread(target=_tell_cluster, args=(cluster, progress), daemon=True)

    # Only now: importing these takes seconds, in which the cluster starts.
    from agentloop.loop import dbos_workflow as durable
    from agentloop.loop.conductor import Conductor
    from agentloop.loop.receipt import build_receipt

    conductor = Conductor(spec, request.base_dir, home, cluster, progress, key)
    conductor.warm_up()
    watcher.start()
    url = home.workflow_url
    durable.configure(url, spec.name)
    workflow = durable.LoopWorkflow(conductor, progress)
    plan = plan_run(spec.name, key, durable.past_workflows(url), request.force)
    if plan.resumed:
        progress.note("going on with the interrupted run")
    outcomes = durable.run_workflow(
        url, plan.workflow_id, plan.superseded, workflow, plan.training_round
    )
    record = cluster.ready()
    receipt = build_receipt(
        spec.name,
        outcomes,
        cluster.seconds,
        record.dashboard_url,
        home.tracking_uri,
        _traffic(home, spec.name),
    )
    if receipt.decision.approved:
        write_json(home.last_run(spec.name), {"key": key, "receipt": to_dict(receipt)})
    return receipt


def _refuse_early(request: RunRequest) -> None:
    """What is known to fail is told before a cluster is started or joined."""
    from agentloop.loop.ray_cluster import clear_remains

    spec, home = request.spec, request.home
    check_header(spec.data, request.base_dir)
    check_family(spec, request.base_dir)
    address = request.environment.get("RAY_ADDRESS")
    if address:  # its ports are its own
        require_answer(address)
    else:
        clear_remains(home)
        check_ports(spec, home)


def _tell_cluster(cluster: Any, progress: Progress) -> None:
    try:
        record = cluster.ready()
    except Exception:
        progress.failed("cluster")  # the stage that needs it raises the error itself
        return
    started = "started" if cluster.started_here else "joined"
    progress.finished("cluster", cluster.seconds, f"{started} {record.address}")


def _traffic(home: StateFolder, model: str) -> dict[str, float]:
    from agentloop.contracts import ModelNotServed
    from agentloop.serving import read_split

    try:
        return dict(read_split(home.root, model).weights)
    except ModelNotServed:
        return {}
