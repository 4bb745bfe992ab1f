"""A rollout's controller in a process of its own: ``python ray_controller.py FOLDER VERSION JSON``.

FOLDER/setup.pickle holds the cluster's address, the registry and the spec; JSON overrides settings
of the rollout. Prints the result as JSON.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
from pathlib import Path

import ray

from agentloop.contracts import LoopSpec, RolloutSpec
from agentloop.contracts.codec import to_dict
from agentloop.lifecycle import MemoryRegistry
from agentloop.serving import BlueGreenDeployment


def main(folder: Path, version: str, settings: dict) -> None:
    setup = pickle.loads((folder / "setup.pickle").read_bytes())
    ray.init(address=setup["address"], namespace="agentloop", log_to_driver=False)
    registry = MemoryRegistry()  # its lock cannot be pickled
    registry._versions, registry._keys, registry._aliases = setup["registry"]
    spec = LoopSpec.model_validate(setup["spec"])
    rollout = RolloutSpec.model_validate({**settings})
    deployment = BlueGreenDeployment(
        spec.model_copy(update={"rollout": rollout}),
        home=folder / "home",
        registry=registry,
        trusted_key=setup["trusted_key"],
        load_report=lambda mv: setup["reports"][mv.version],
    )
    candidate = registry.get("tiny", version)
    result = asyncio.run(deployment.deploy_model(candidate))
    print(json.dumps(to_dict(result)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
