"""Run a rollout again and again, killed after each of its writes in turn, then gone on with.

``python kill_rollout.py FOLDER``: FOLDER/start holds the bundles, ``registry.pickle`` and the
control store of a model whose first version is stable. Each trial is a forked process on a copy of
that, killed with SIGKILL right after its n-th write to the store, the plane or the registry; then
a second process deploys the same version. The same is done to a rollback of what was deployed.
Prints one JSON object: the end state of undisturbed runs, and of each trial. Replicas outlive their
controller, so the plane keeps its in a file.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import shutil
import signal
import sys
import traceback
from pathlib import Path

from agentloop.contracts import LoopSpec
from agentloop.contracts.codec import from_dict, to_dict
from agentloop.lifecycle import MemoryRegistry
from agentloop.serving.control.sqlite_control_store import SqliteControlStore
from agentloop.serving.control.store import StagedVersion
from agentloop.serving.edge.duties import due
from agentloop.serving.fakes import MemoryPlane
from agentloop.serving.rollout.blue_green import BlueGreenDeployment

MODEL = "tiny"
# The judge's numbers are for people who look; losing one is no matter.
STORE_WRITES = (
    "put_staged",
    "remove_staged",
    "put_split",
    "put_bake",
    "remove_bake",
    "claim",
    "put_rollout",
    "record",
)


class Death:
    """Kills this process right after the ``after``-th write; counts them."""

    def __init__(self, after: int) -> None:
        self.after, self.writes = after, 0

    def hit(self) -> None:
        self.writes += 1
        if self.writes == self.after:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, target, names) -> None:
        for name in names:
            setattr(target, name, self._then_hit(getattr(target, name)))

    def _then_hit(self, method):
        def call(*arguments):
            result = method(*arguments)
            self.hit()
            return result

        return call


class FilePlane(MemoryPlane):
    """What runs, and every start of it, in a file."""

    def __init__(self, store, path: Path) -> None:
        super().__init__(store)
        self._path = path
        if path.exists():
            kept = json.loads(path.read_text())
            self.provisioned = kept["provisioned"]
            for value in kept["running"]:
                staged = from_dict(StagedVersion, value)
                self.running[staged.model, staged.version] = staged
        self.reconcile()

    def provision(self, staged) -> None:
        super().provision(staged)
        running = [to_dict(item) for item in self.running.values()]
        kept = {"provisioned": self.provisioned, "running": running}
        self._path.write_text(json.dumps(kept))


class FileRegistry(MemoryRegistry):
    """A registry in one pickle."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        if path.exists():
            self._versions, self._keys, self._aliases = pickle.loads(path.read_bytes())

    def save(self) -> None:
        self._path.write_bytes(pickle.dumps((self._versions, self._keys, self._aliases)))

    def _put(self, version):
        result = super()._put(version)
        self.save()
        return result

    def set_alias(self, model, alias, version) -> None:
        super().set_alias(model, alias, version)
        self.save()


def open_world(folder: Path, death: Death):
    setup = pickle.loads((folder / "setup.pickle").read_bytes())
    store = SqliteControlStore(folder / "control.db")
    plane = FilePlane(store, folder / "plane.json")
    registry = FileRegistry(folder / "registry.pickle")
    death.watch(store, STORE_WRITES)
    death.watch(plane, ("provision", "reconcile"))
    death.watch(registry, ("transition", "set_alias"))
    deployment = BlueGreenDeployment(
        LoopSpec.model_validate(setup["spec"]),
        home=folder,
        registry=registry,
        trusted_key=setup["trusted_key"],
        load_report=lambda mv: setup["reports"][mv.version],
        store=store,
        plane=plane,
    )
    return store, plane, registry, deployment, setup["version"]


def deploy(folder: Path, after: int) -> int:
    """Deploy in this process; the writes it took."""
    death = Death(after)
    _, _, registry, deployment, version = open_world(folder, death)
    result = asyncio.run(deployment.deploy_model(registry.get(MODEL, version)))
    assert result.status == "completed", result.reasons
    return death.writes


def roll_back(folder: Path, after: int) -> int:
    """Roll back in this process; the writes it took."""
    death = Death(after)
    deployment = open_world(folder, death)[3]
    asyncio.run(deployment.rollback(MODEL))
    return death.writes


def forked(work) -> int:
    """Run ``work`` in a child; how it ended, as ``os.waitstatus_to_exitcode`` says."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def expire(folder: Path) -> None:
    """What the edge does when the lease has ended."""
    store = SqliteControlStore(folder / "control.db")
    leased = [split for split in store.splits() if split.lease_until is not None]
    for duty in due(leased, (), (), leased[0].lease_until + 1 if leased else 0.0):
        store.put_split(duty.split)


def state(folder: Path) -> dict:
    """What is left in the end, without times and epochs."""
    store, plane, registry, _, _ = open_world(folder, Death(0))
    last = store.rollouts(MODEL)[-1]
    events = [e for e in store.events(MODEL) if e.deployment_id == last.deployment_id]
    split = store.split(MODEL)
    effects = [e.action for e in events if e.kind == "effect"]
    return {
        "split": [dict(split.weights), split.stable, split.lease_until, split.shadow],
        "staged": [[s.version, s.approved, s.retiring] for s in store.staged()],
        "bakes": [bake.version for bake in store.bakes()],
        "rollouts": [[r.version, r.state, r.previous] for r in store.rollouts(MODEL)],
        "stages": {mv.version: str(mv.stage) for mv in registry.versions(MODEL)},
        "champion": registry.alias(MODEL, "champion").version,
        "started": plane.provisioned,
        "ended": [e.action for e in events].count("ended"),
        "repeated": sorted({action for action in effects if effects.count(action) > 1}),
    }


def trial(folder: Path, start: Path, work, after: int, lease_ends: bool = False) -> dict:
    shutil.copytree(start, folder)
    first = forked(lambda: work(folder, after))
    if lease_ends:
        expire(folder)
    second = forked(lambda: work(folder, 0))
    found = {"after": after, "exits": [first, second], "state": state(folder)}
    shutil.rmtree(folder)
    return found


def undisturbed(folder: Path, start: Path, work) -> int:
    """Do it once on a copy, which stays; the writes it took."""
    shutil.copytree(start, folder)
    counted = folder / "writes"
    assert forked(lambda: counted.write_text(str(work(folder, 0)))) == 0
    return int(counted.read_text())


def main(folder: Path) -> None:
    start, calm, back = folder / "start", folder / "calm", folder / "back"
    writes = undisturbed(calm, start, deploy)
    steps = range(1, writes + 1)
    trials = [trial(folder / f"t{n}", start, deploy, n) for n in steps]
    expired = [trial(folder / f"e{n}", start, deploy, n, True) for n in steps[::4]]
    backs = range(1, undisturbed(back, calm, roll_back))  # after its last write it was done
    told = {
        "writes": writes,
        "calm": state(calm),
        "trials": trials,
        "expired": expired,
        "calm_rollback": state(back),
        "rollbacks": [trial(folder / f"b{n}", calm, roll_back, n) for n in backs],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
