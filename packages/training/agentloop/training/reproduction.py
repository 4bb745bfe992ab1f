"""Fit a registered version again, by its recipe, and compare what comes out with what was kept."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentloop.contracts.data import DatasetVersion
from agentloop.contracts.models import ModelVersion
from agentloop.contracts.spec import AUTO, FAMILIES, ModelSpec, SplitSpec
from agentloop.lifecycle.bundle import FEATURES, HOLDOUT, MANIFEST, MODEL, SIGNATURE, write_noun
from agentloop.training.config import TrainingConfig
from agentloop.training.processors import usable_cpus
from agentloop.training.recipe import Recipe, installed_packages

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, slots=True)
class Compared:
    """One thing as it was recorded and as it is now; ``binding`` says that the version counts as
    reproduced only where both are the same."""

    what: str
    recorded: str
    found: str
    binding: bool = True

    @property
    def same(self) -> bool:
        return self.recorded == self.found


@dataclass(frozen=True, slots=True)
class Reproduction:
    """``max_difference`` is the largest between the metrics recorded and those measured now."""

    model: str
    version: str
    identical: bool
    compared: tuple[Compared, ...]
    max_difference: float
    seconds: float = 0.0

    @property
    def differences(self) -> tuple[str, ...]:
        """What is not the same, one line each."""
        return tuple(
            f"{c.what}: recorded {c.recorded or 'nothing'}, now {c.found or 'nothing'}"
            for c in self.compared
            if not c.same
        )


def reproduce(
    version: ModelVersion,
    recipe: Recipe,
    dataset: DatasetVersion,
    bundle: Path,
    work: Path,
    code: tuple[str, str],
    ray_ready: Callable[[], None] = lambda: None,
) -> Reproduction:
    """Fit the members again in ``work``, an empty folder; registers nothing, and no run is made.

    ``bundle`` is the registered one, opened; ``code`` this code's version and lock hash;
    ``ray_ready`` connects to a cluster, and is called if the version had workers. Raises
    TrainingError, DataError, ClusterError.
    """
    from agentloop.training.evaluation import evaluate
    from agentloop.training.fitting_ray import fit_recipe

    config = config_of(recipe, dataset, work, code)
    data = _prepared(config, recipe)
    trained = fit_recipe(config, data, recipe, ray_ready)
    evaluation = evaluate(config, trained, data)
    _export(work, config, data, trained, evaluation)
    metrics = _metrics(version.metrics, evaluation.metrics)
    compared = (*_files(bundle, work), *metrics, *_environment(recipe, code))
    return Reproduction(
        model=version.model,
        version=version.version,
        identical=all(c.same for c in compared if c.binding),
        compared=compared,
        max_difference=max((abs(float(c.recorded) - float(c.found)) for c in metrics), default=0.0),
    )


def config_of(
    recipe: Recipe, dataset: DatasetVersion, work: Path, code: tuple[str, str]
) -> TrainingConfig:
    """The training that the recipe tells of, in a folder of its own."""
    spec = ModelSpec.model_validate(recipe.spec)
    base = work / "base"
    base.mkdir(parents=True, exist_ok=True)
    if spec.family not in (*FAMILIES, AUTO):
        module = base.joinpath(*spec.family.partition(":")[0].split(".")).with_suffix(".py")
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(recipe.family_source, encoding="utf-8")
    return TrainingConfig(
        model=recipe.model,
        spec=spec,
        dataset=dataset,
        split=SplitSpec.model_validate(recipe.split),
        idempotency_key="reproduce",
        tracking_uri="",
        home=work / "home",
        base_dir=base,
        code_version=code[0],
        lock_hash=code[1],
    )


def _prepared(config: TrainingConfig, recipe: Recipe) -> Any:
    from agentloop.lifecycle.registry import MemoryRegistry
    from agentloop.training.dataset import prepare
    from agentloop.training.pipeline import ModelTrainingPipeline

    pipeline = ModelTrainingPipeline(config, registry=MemoryRegistry())
    raw = asyncio.run(pipeline.load_training_data())
    return prepare(raw, config.split, config.spec.features, recipe.seed, recipe.folds)


def _export(work: Path, config: TrainingConfig, data: Any, trained: Any, evaluation: Any) -> None:
    from agentloop.training.bundle_arrow import signature_of, write_holdout, write_weights
    from agentloop.training.onnx_export import export_model

    export_model(evaluation.members, trained.head, data.pipeline.width, work / MODEL)
    write_weights(work / WEIGHTS, trained)
    write_noun(work, FEATURES, data.pipeline)
    write_noun(work, SIGNATURE, signature_of(config.model, data.pipeline, data.target, data))
    write_holdout(work / HOLDOUT, data)


def _files(bundle: Path, work: Path) -> tuple[Compared, ...]:
    listed = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))["files"]
    return tuple(
        Compared(name, listed.get(name, ""), hashlib.sha256((work / name).read_bytes()).hexdigest())
        for name in (WEIGHTS, MODEL, FEATURES, SIGNATURE, HOLDOUT)
    )


def _metrics(recorded: Mapping[str, float], found: Mapping[str, float]) -> tuple[Compared, ...]:
    names = sorted(recorded.keys() & found.keys())
    return tuple(Compared(name, repr(recorded[name]), repr(float(found[name]))) for name in names)


def _environment(recipe: Recipe, code: tuple[str, str]) -> tuple[Compared, ...]:
    """What may explain a difference, and is none by itself."""
    packages = installed_packages()
    rows = [
        (name, recipe.packages.get(name, ""), packages.get(name, ""))
        for name in sorted({*recipe.packages, *packages})
    ]
    rows += [
        ("code version", recipe.code_version, code[0]),
        ("lock hash", recipe.lock_hash, code[1]),
        ("threads", str(recipe.threads), str(usable_cpus())),
    ]
    return tuple(Compared(*row, binding=False) for row in rows)
