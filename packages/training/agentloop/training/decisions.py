"""What training decides before it starts anything."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from agentloop.contracts.codec import canonical_json
from agentloop.contracts.models import ChangeType, ModelVersion
from agentloop.contracts.spec import AUTO, FAMILIES, ModelSpec, SearchSpec
from agentloop.contracts.spec_families import defaults_of
from agentloop.lifecycle.versioning import FIRST_BASE, parse_version

ARCHITECTURE_TAG = "architecture"
# Values of a float32 matrix that one process holds and walks comfortably (2 GB).
COMFORTABLE_VALUES = 500_000_000
# Rows a process trains a small network on in about ten seconds. A second trial actor spends 3 s of
# CPU on importing torch, so it has to save more than that.
ROWS_WORTH_AN_ACTOR = 2_000_000
AUTO_FOLDS, FEW_ROWS = 5, 20_000
AUTO_TRIALS, AUTO_SECONDS = 80, 240.0


def choose_workers(requested: int | Literal["auto"], rows: int, width: int) -> int:
    """Processes to train in: 0 is the calling one (Ray Train's local mode)."""
    if requested != "auto":
        return requested
    return 0 if rows * width <= COMFORTABLE_VALUES else 2


def choose_folds(requested: int | Literal["auto"], rows: int, searched: bool) -> int:
    """Ways to part the training rows: several where one validation part would be small, and only
    for ``family: auto``, which weighs models against one another on them."""
    if requested != "auto":
        return max(1, requested)
    return AUTO_FOLDS if searched and rows <= FEW_ROWS else 1


def auto_search(spec: ModelSpec) -> SearchSpec:
    """The search of ``family: auto``: what is left out of it is ``AUTO_TRIALS`` and
    ``AUTO_SECONDS``, whichever comes first."""
    given = spec.search.model_fields_set
    chosen = {
        "trials": spec.search.trials if "trials" in given else AUTO_TRIALS,
        "seconds": spec.search.seconds if "seconds" in given else AUTO_SECONDS,
    }
    return spec.search.model_copy(update=chosen)


def choose_trial_actors(concurrency: int, trials: int, rows: int, epochs: int) -> int:
    """Actors that search at the same time: no more than the work is worth."""
    worth = 1 + rows * epochs * trials // ROWS_WORTH_AN_ACTOR
    return max(1, min(concurrency, trials, worth))


def patience(epochs: int) -> int:
    """Epochs without a better validation loss after which training stops."""
    return max(5, epochs // 5)


def architecture_of(family: str, parameters: dict[str, Any]) -> str:
    """The layout as text, e.g. ``mlp(64, 32)``: equal text, equal architecture. The members of
    ``auto`` are whatever its search found, so that another mix is no other architecture."""
    shape = {
        name: parameters[name]
        for name in ("hidden", "embedding", "channels", "width", "blocks", "heads")
        if name in defaults_of(family) and parameters.get(name)
    }
    if list(shape) == ["hidden"]:
        return f"{family}({', '.join(str(width) for width in shape['hidden'])})"
    told = ", ".join(f"{name} {value}" for name, value in shape.items())
    return f"{family}({told})" if told else family


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
    code = (
        hashlib.sha256(family_source.encode()).hexdigest()
        if family not in (*FAMILIES, AUTO)
        else ""
    )
    value = {"family": family, "parameters": parameters, "seed": seed, "code": code}
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
