"""What a version was made of, so that its last fit can be done again: ``recipe.json`` in its
bundle. No times, run ids or paths, so that the same training gives the same bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentloop.contracts.codec import from_dict
from agentloop.contracts.errors import ArtifactUnverified
from agentloop.training.config import TrainingConfig
from agentloop.training.processors import usable_cpus

if TYPE_CHECKING:
    from agentloop.training.dataset import PreparedData
    from agentloop.training.trained import Member, TrainedModel

RECIPE = "recipe.json"
# Those whose arithmetic, or whose file format, decides the bytes of a model.
PACKAGES = ("numpy", "onnx", "onnxruntime", "pyarrow", "safetensors", "scikit-learn", "torch")


@dataclass(frozen=True, slots=True)
class MemberRecipe:
    """One member's fit. ``rounds`` are the epochs (or trees) that its weights are from."""

    family: str
    parameters: Mapping[str, Any]
    seed: int
    weight: float
    rounds: int


@dataclass(frozen=True, slots=True)
class DataRecipe:
    """Which rows: a dataset's version, and the sha256 (hex) of what it holds."""

    name: str
    version: str
    content_hash: str
    rows: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """``spec`` and ``split`` are the sections of loop.yaml; ``folds`` the ways the training rows
    were parted; ``refit`` says that the members were fitted on all of them. ``workers`` is 0 for
    one process, which uses ``threads`` threads at most; ``family_source`` the text of the
    module that a user's own family is in.
    """

    model: str
    spec: Mapping[str, Any]
    split: Mapping[str, Any]
    data: DataRecipe
    folds: int
    members: tuple[MemberRecipe, ...]
    temperature: float
    refit: bool
    seed: int
    workers: int
    threads: int
    packages: Mapping[str, str]
    code_version: str = ""
    lock_hash: str = ""
    family_source: str = ""


def recipe_of(config: TrainingConfig, data: PreparedData, trained: TrainedModel) -> Recipe:
    """Of a training that is done. Raises TrainingError where a user's family is gone."""
    from agentloop.training.family_source import family_source

    dataset = config.dataset
    return Recipe(
        model=config.model,
        spec=config.spec.model_dump(mode="json"),
        split=config.split.model_dump(mode="json"),
        data=DataRecipe(dataset.name, dataset.version, dataset.content_hash, dataset.rows),
        folds=len(data.folds),
        members=tuple(_member(member) for member in trained.members),
        temperature=trained.head.temperature,
        refit=trained.refit,
        seed=config.spec.seed,
        workers=trained.workers,
        threads=usable_cpus(),
        packages=installed_packages(),
        code_version=config.code_version,
        lock_hash=config.lock_hash,
        family_source=family_source(config.spec.family, config.base_dir),
    )


def installed_packages() -> dict[str, str]:
    """The versions of ``PACKAGES`` that are installed here."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def read_recipe(bundle: Path) -> Recipe:
    """The recipe in an opened bundle. Raises ArtifactUnverified where there is none."""
    try:
        return from_dict(Recipe, json.loads((bundle / RECIPE).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        first = (str(error).splitlines() or [""])[0]
        reason = f"its {RECIPE} cannot be read ({first})"
        raise ArtifactUnverified(str(bundle), reason) from None


def _member(member: Member) -> MemberRecipe:
    return MemberRecipe(
        family=member.family,
        parameters=dict(member.parameters),
        seed=member.seed,
        weight=member.weight,
        rounds=member.fitted.best_epoch,
    )
