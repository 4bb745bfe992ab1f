"""Search, then fit: what ``train_with_checkpoints`` does, on Ray Tune and Ray Train."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any

from agentloop.contracts.codec import canonical_json
from agentloop.contracts.spec import FAMILIES
from agentloop.training.config import TrainingConfig
from agentloop.training.dataset import PreparedData
from agentloop.training.decisions import choose_trial_actors, choose_workers
from agentloop.training.fits import FitRequest, Fitted
from agentloop.training.ray_session import cluster_gpus
from agentloop.training.search_space import SearchResult, check_space
from agentloop.training.state_files import read_search, write_search

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A fitted network and how it came to be. ``served`` (a torch module on the CPU) maps
    features float32 (rows, width) to scores; ``workers`` is 0 for the calling process."""

    parameters: Mapping[str, Any]
    search: SearchResult | None
    fitted: Fitted
    served: Any
    workers: int


def fit_best(
    config: TrainingConfig, data: PreparedData, ray_ready: Callable[[], None], say: Say
) -> TrainedModel:
    """The best of the search, fitted. An earlier attempt's search and checkpoint are used.

    Raises TrainingError, TrainingDiverged, ClusterError.
    """
    spec = config.spec
    folder = attempt_folder(config)
    workers = choose_workers(spec.num_workers, len(data.fit.targets), data.pipeline.width)
    request = _request(config, data)
    check_space(spec.search, spec.parameters)
    if spec.family not in FAMILIES:
        _try_family(request)
    search = read_search(folder)
    wanted = bool(spec.search.trials and spec.search.space) and search is None
    if wanted or workers:
        ray_ready()
    if wanted:
        search = _search(config, data, request, folder, say)
        write_search(folder, search)
    parameters = search.parameters if search else request.parameters
    where = f"{workers} workers" if workers else "this process"
    say(f"training {spec.family} on {len(data.fit.targets)} rows in {where}")
    request = replace(request, parameters=dict(parameters), use_gpu=_gpu(spec.use_gpu, workers))
    return _fit(request, data, workers, folder, search)


def attempt_folder(config: TrainingConfig) -> Path:
    """Where attempts at this very training keep their state: other data or parameters under the
    same key do not find it."""
    identity = [config.spec.model_dump(mode="json"), config.split.model_dump(mode="json")]
    text = canonical_json([config.dataset.content_hash, config.code_version, *identity])
    return config.work_dir / hashlib.sha256(text.encode()).hexdigest()[:16]


def _fit(
    request: FitRequest,
    data: PreparedData,
    workers: int,
    folder: Path,
    search: SearchResult | None,
) -> TrainedModel:
    from agentloop.training.ray_trainer import train_with_ray
    from agentloop.training.torch_families import ServedModel
    from agentloop.training.torch_loop import restore_weights

    fitted = train_with_ray(request, data.fit, data.tune, workers, folder)
    target = data.target
    network = restore_weights(request, fitted.weights)
    served = ServedModel(network, target.task, target.mean, target.scale).eval()
    return TrainedModel(request.parameters, search, fitted, served, workers)


def _search(
    config: TrainingConfig, data: PreparedData, request: FitRequest, folder: Path, say: Say
) -> SearchResult:
    from agentloop.training.tune_search import search_parameters

    spec = config.spec
    rows, epochs = len(data.fit.targets), spec.parameters.epochs
    actors = choose_trial_actors(spec.search.concurrency, spec.search.trials, rows, epochs)
    say(f"searching {', '.join(spec.search.space)} in {spec.search.trials} trials")
    # The trials wait for torch in their own processes; this one imports it meanwhile. Nothing of
    # Ray in that thread: Ray's libraries import each other in a circle, which two threads break.
    Thread(target=_import_torch, daemon=True).start()
    gpu = spec.use_gpu is True or (spec.use_gpu == "auto" and cluster_gpus() >= 1)
    return search_parameters(
        replace(request, use_gpu=gpu),
        data.fit,
        data.tune,
        spec.search,
        spec.parameters,
        actors,
        folder / "tune",
        say,
    )


def _request(config: TrainingConfig, data: PreparedData) -> FitRequest:
    return FitRequest(
        family=config.spec.family,
        inputs=data.pipeline.width,
        target=data.target,
        parameters=config.spec.parameters.model_dump(mode="json"),
        seed=config.spec.seed,
        base_dir=str(config.base_dir.absolute()),
    )


def _try_family(request: FitRequest) -> None:
    """Build a user's family once before anything starts, so that its errors come at once."""
    from agentloop.training.torch_families import build_model

    parameters = dict(request.parameters)
    outputs = request.target.outputs
    build_model(request.family, request.inputs, outputs, parameters, request.base_dir)


def _gpu(requested: bool | str, workers: int) -> bool:
    if requested != "auto":
        return bool(requested)
    if workers:
        return cluster_gpus() >= workers
    import torch

    return bool(torch.cuda.is_available())


def _import_torch() -> None:
    import onnxruntime  # noqa: F401
    import torch.onnx  # noqa: F401
