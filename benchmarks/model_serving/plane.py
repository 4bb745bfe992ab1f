"""Our serving plane in a process of its own, so that what it costs can be told from the rest.

    plane.py FOLDER VERSIONS [--shares 90,10] [--fails N]

Prints one line of JSON once the versions answer, then obeys lines of JSON on its standard input,
each answered by one line; ends on SIGTERM or at the end of its input.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from network import MODEL, World, write_version

from agentloop.contracts import LoopSpec, ModelVersion, SignedReport, ValidationReport
from agentloop.lifecycle import MemoryRegistry, open_signer
from agentloop.monitoring import ObserverFactory
from agentloop.serving import (
    BlueGreenDeployment,
    RayServingPlane,
    control_store,
    read_split,
    serve_environment,
    start_serving_plane,
    stop_serving_plane,
)


def make_spec(serving: dict[str, Any], rollout: dict[str, Any]) -> LoopSpec:
    return LoopSpec.model_validate(
        {
            "name": MODEL,
            "data": {"source": {"kind": "csv", "path": "x.csv"}, "target": "y"},
            "serving": {"port": 0, **serving},
            "rollout": rollout,
        }
    )


class Plane:
    """The deployment of a few versions of the network in the state folder ``home``."""

    def __init__(self, home: Path, spec: LoopSpec, versions: list[ModelVersion]) -> None:
        self.home, self.spec, self.versions = home, spec, versions
        self._plane = RayServingPlane(home, spec.serving)
        signer = open_signer(home / "keys")
        registry = MemoryRegistry()
        for mv in versions:
            registry.register(mv, mv.version)

        def approve(mv: ModelVersion) -> SignedReport:
            return signer.sign(ValidationReport(mv, {}, True, (), model_digest=mv.digest))

        self.deployment = BlueGreenDeployment(
            spec,
            home=home,
            registry=registry,
            trusted_key=signer.public_key,
            observer_factory=ObserverFactory(),
            load_report=approve,
        )

    def settle(self, number: int) -> dict[str, Any]:
        """All traffic to a version, as the end of a rollout writes it."""
        return self.split({number: 100.0}, number)

    def split(self, percents: dict[int, float], stable: int, lease_s: float = 0) -> dict[str, Any]:
        """Write weights as a controller does; when it began, and how long it took."""
        began = time.monotonic()
        current = read_split(self.home, MODEL)
        weights = dict.fromkeys(current.weights, 0.0)
        weights |= {self.versions[n].version: share for n, share in percents.items()}
        lease = time.time() + lease_s if lease_s else None
        split = replace(
            current,
            weights=weights,
            stable=self.versions[stable].version,
            epoch=current.epoch + 1,
            lease_until=lease,
        )
        control_store(self.home).put_split(split)
        self._plane.reconcile()
        return {"began": began, "seconds": time.monotonic() - began}

    def deploy(self, number: int) -> dict[str, Any]:
        """A whole rollout, judged."""
        began = time.monotonic()
        result = asyncio.run(self.deployment.deploy_model(self.versions[number]))
        return {
            "began": began,
            "seconds": time.monotonic() - began,
            "status": result.status,
            "metrics": dict(result.metrics),
            "reasons": list(result.reasons),
        }

    def rollback(self) -> dict[str, Any]:
        """Back to the version before, checked."""
        began = time.monotonic()
        result = asyncio.run(self.deployment.rollback(MODEL))
        seconds = time.monotonic() - began
        return {"began": began, "seconds": seconds, "status": result.status}

    def stage(self, number: int) -> dict[str, Any]:
        asyncio.run(self.deployment.stage(self.versions[number]))
        return {}

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out one order: {"do": "split", "percents": {"0": 90, "1": 10}, "stable": 0}."""
        name = order.pop("do")
        if "percents" in order:
            order["percents"] = {int(key): value for key, value in order["percents"].items()}
        actions: dict[str, Callable[..., dict[str, Any]]] = {
            "split": self.split,
            "settle": self.settle,
            "deploy": self.deploy,
            "stage": self.stage,
            "rollback": self.rollback,
        }
        try:
            return actions[name](**order)
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}


class Answers:
    """Lines on what was the standard output; whatever else is printed goes to the standard error,
    as Ray's processes do when one of them dies."""

    def __init__(self) -> None:
        self._output = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def __call__(self, value: dict[str, Any]) -> None:
        self._output.write(json.dumps(value) + "\n")
        self._output.flush()


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    home = options.folder / "home"
    os.environ.update(serve_environment(home), RAY_USAGE_STATS_ENABLED="0")
    versions = written(options)
    plane = Plane(home, make_spec(options.serving, options.rollout), versions)
    answers = Answers()
    if options.attach:
        return attached(plane, options, answers)
    import ray

    ray.init(
        num_cpus=2,
        include_dashboard=False,
        namespace="agentloop",
        _temp_dir=str(options.folder / "r"),
        log_to_driver=False,
    )
    try:
        address = start_serving_plane(home, plane.spec.serving)
        plane.deploy(0)
        for number in range(1, options.serve):
            plane.stage(number)
        if options.shares:
            plane.split(dict(enumerate(options.shares)), 0)
        told = {
            "url": address.url,
            "home": str(home),
            "model": MODEL,
            "versions": [mv.version for mv in versions],
            "cluster": ray.get_runtime_context().gcs_address,
        }
        answers(told)
        for line in sys.stdin:
            answers(plane.obey(json.loads(line)))
    finally:
        stop_serving_plane(home)
        ray.shutdown()
    return 0


def attached(plane: Plane, options: argparse.Namespace, answers: Answers) -> int:
    """Roll a version out from a process of its own: the controller that may be killed."""
    import ray

    ray.init(options.attach, namespace="agentloop", log_to_driver=False)
    answers(plane.deploy(options.deploy))
    return 0


def written(options: argparse.Namespace) -> list[ModelVersion]:
    """The versions, made once a folder."""
    kept = options.folder / "versions.json"
    from agentloop.contracts.codec import from_dict, to_dict

    if kept.exists():
        return [from_dict(ModelVersion, item) for item in json.loads(kept.read_text())]
    world = World()
    versions = [
        write_version(options.folder / "bundles", world, n + 1, fails=n in options.fails)
        for n in range(options.versions)
    ]
    kept.write_text(json.dumps([to_dict(mv) for mv in versions]))
    return versions


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--versions", type=int, default=1, help="to write")
    parser.add_argument("--serve", type=int, default=1, help="of them, to start")
    parser.add_argument("--shares", type=lambda t: [float(p) for p in t.split(",")], default=[])
    parser.add_argument("--fails", type=lambda t: [int(p) for p in t.split(",")], default=[])
    parser.add_argument("--serving", type=json.loads, default={}, help="of loop.yaml, as JSON")
    parser.add_argument("--rollout", type=json.loads, default={}, help="of loop.yaml, as JSON")
    parser.add_argument("--attach", default="", help="address of a cluster: roll out, then end")
    parser.add_argument("--deploy", type=int, default=1, help="the version that it rolls out")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
