"""Which run is this? Keys that make equal work be done once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from agentloop.contracts import LoopSpec, canonical_json

KEY_LENGTH = 16


@dataclass(frozen=True, slots=True)
class PastWorkflow:
    """A workflow that the orchestrator remembers."""

    id: str
    status: str


@dataclass(frozen=True, slots=True)
class RunPlan:
    """``workflow_id`` runs or goes on; ``superseded`` must be cancelled first.

    ``training_round`` counts forced repeats: together with the training key it names one version.
    """

    workflow_id: str
    training_round: int
    resumed: bool
    superseded: tuple[str, ...]


def run_key(spec: LoopSpec, fingerprint: str) -> str:
    """Names a run: equal spec and equal source bytes give an equal key (hex)."""
    return _digest([spec.model_dump(mode="json"), fingerprint])


def training_key(spec: LoopSpec, data_version: str, training_round: int) -> str:
    """Names a model: only what training depends on takes part."""
    parts = [
        spec.name,
        spec.data.target,
        spec.data.split.model_dump(mode="json"),
        spec.model.model_dump(mode="json"),
        data_version,
        training_round,
    ]
    return _digest(parts)


def plan_run(model: str, key: str, past: Sequence[PastWorkflow], force: bool) -> RunPlan:
    """Go on with an interrupted run of this key, or start the next one.

    An interrupted run of the same model under another key is superseded: its spec or data are no
    longer what the user asks for.
    """
    prefix = f"{model}:{key}:"
    mine = [w for w in past if w.id.startswith(prefix)]
    pending = [w for w in past if w.status == "PENDING" and w.id.startswith(f"{model}:")]
    ended = [w for w in past if w.status == "SUCCESS" and w.id.startswith(f"{model}:")]
    superseded = tuple(w.id for w in pending if not w.id.startswith(prefix))
    for workflow in mine:
        if workflow.status == "PENDING":
            return RunPlan(workflow.id, _round_of(workflow.id), True, superseded)
    # Rounds count over all keys of the model: a spec that differs in its rollout alone trains the
    # same model, so that a round of its own would find an old version, or force would find one.
    latest = max((_round_of(w.id) for w in ended), default=-1)
    own = max((_round_of(w.id) for w in ended if w.id.startswith(prefix)), default=latest)
    training_round = latest + 1 if force else max(own, 0)
    return RunPlan(f"{prefix}{training_round}:{len(mine)}", training_round, False, superseded)


def _round_of(workflow_id: str) -> int:
    return int(workflow_id.split(":")[2])


def _digest(value: object) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:KEY_LENGTH]
