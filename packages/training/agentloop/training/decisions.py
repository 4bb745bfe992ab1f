"""What training decides before it starts anything."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from agentloop.contracts.codec import canonical_json
from agentloop.contracts.models import ChangeType, ModelVersion
from agentloop.contracts.spec import FAMILIES
from agentloop.lifecycle.versioning import FIRST_BASE, parse_version

ARCHITECTURE_TAG = "architecture"
# Values of a float32 matrix that one process holds and walks comfortably (2 GB).
COMFORTABLE_VALUES = 500_000_000
# Rows a process trains a small network on in about ten seconds. A second trial actor spends 3 s of
# CPU on importing torch, so it has to save more than that.
ROWS_WORTH_AN_ACTOR = 2_000_000


def choose_workers(requested: int | Literal["auto"], rows: int, width: int) -> int:
    """Processes to train in: 0 is the calling one (Ray Train's local mode)."""
    if requested != "auto":
        return requested
    return 0 if rows * width <= COMFORTABLE_VALUES else 2


def choose_trial_actors(concurrency: int, trials: int, rows: int, epochs: int) -> int:
    """Actors that search at the same time: no more than the work is worth."""
    worth = 1 + rows * epochs * trials // ROWS_WORTH_AN_ACTOR
    return max(1, min(concurrency, trials, worth))


def patience(epochs: int) -> int:
    """Epochs without a better validation loss after which training stops."""
    return max(5, epochs // 5)


def architecture_of(family: str, parameters: dict[str, Any]) -> str:
    """The layout as text, e.g. ``mlp(64, 32)``: equal text, equal architecture."""
    if family == "linear":
        return family
    return f"{family}({', '.join(str(width) for width in parameters['hidden'])})"


def change_between(
    versions: tuple[ModelVersion, ...], declared: ChangeType, architecture: str
) -> tuple[str, ChangeType]:
    """The base version to count from, and the kind of change.

    The first version of a model, and any whose layout is not that of the version before it, are a
    change of architecture; otherwise the ``declared`` change holds.
    """
    if not versions:
        return FIRST_BASE, "architecture"
    latest = max(versions, key=lambda known: parse_version(known.version))
    same = latest.tags.get(ARCHITECTURE_TAG, architecture) == architecture
    return latest.version, declared if same else "architecture"


def parameters_hash(
    family: str, parameters: dict[str, Any], seed: int, family_source: str = ""
) -> str:
    """sha256 (hex) of all that makes one model another, given the same data.

    ``family_source`` is the source text of a user's family, so that editing it counts.
    """
    code = hashlib.sha256(family_source.encode()).hexdigest() if family not in FAMILIES else ""
    value = {"family": family, "parameters": parameters, "seed": seed, "code": code}
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
