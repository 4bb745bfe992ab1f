"""What is searched for one training: the plan from loop.yaml and the data, and where it is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread

from agentloop.contracts.spec import AUTO
from agentloop.contracts.spec_families import defaults_of
from agentloop.training.config import TrainingConfig
from agentloop.training.dataset import PreparedData
from agentloop.training.decisions import auto_search, choose_trial_actors
from agentloop.training.family_spaces import SPACES, choose_families, first_draws
from agentloop.training.fits import FitRequest
from agentloop.training.ray_session import cluster_gpus
from agentloop.training.requests import fit_request
from agentloop.training.search_space import Draw, SearchPlan, SearchResult, is_inside
from agentloop.training.studies import best_draws, remember

Say = Callable[[str], None]


def search_families(
    config: TrainingConfig,
    data: PreparedData,
    requests: Mapping[str, FitRequest],
    folder: Path,
    ray_ready: Callable[[], None],
    say: Say,
) -> SearchResult:
    """The finished search of an earlier attempt, or what is left of it, or a new one.

    ``requests``: the one family that is searched, with its own parameters; nothing for ``auto``.
    ``folder`` keeps the search.
    """
    ray_ready()
    from agentloop.training.tune_search import search_parameters

    # The trials wait for torch in their own processes; this one imports it meanwhile. Nothing of
    # Ray in that thread: Ray's libraries import each other in a circle, which two threads break.
    Thread(target=_import_torch, daemon=True).start()
    plan = plan_search(config, data, requests)
    folds = data.folds if config.spec.family == AUTO else data.folds[:1]
    rows = len(data.train.targets)
    epochs = config.spec.parameters.epochs or 30
    actors = choose_trial_actors(
        config.spec.search.concurrency, plan.trials, rows * len(folds), epochs
    )
    budget = f" or {plan.seconds:.0f} s" if plan.seconds is not None else ""
    say(f"searching {', '.join(plan.requests)} in {plan.trials} trials{budget}")
    result = search_parameters(plan, data.train, folds, actors, folder, say)
    remember(config.home, config.model, config.dataset.version, result)
    return result


def plan_search(
    config: TrainingConfig, data: PreparedData, requests: Mapping[str, FitRequest]
) -> SearchPlan:
    """What is tried: the space of loop.yaml, or those of the families that suit the data."""
    spec = config.spec
    auto = spec.family == AUTO
    search = auto_search(spec) if auto else spec.search
    if auto:
        families = choose_families(
            data.layout,
            len(data.train.targets),
            len(data.folds),
            search.seconds,
            search.families,
        )
        requests = {name: fit_request(config, data, name, defaults_of(name)) for name in families}
        spaces = {name: SPACES[name] for name in families}
        first = first_draws(families)
    else:
        spaces = {spec.family: search.space}
        first = _own_values(spec.family, requests[spec.family], search.space)
    if search.warm_start:
        first = (*best_draws(config.home, config.model, spaces), *first)
    gpu = spec.use_gpu is True or (spec.use_gpu == "auto" and cluster_gpus() >= 1)
    return SearchPlan(
        requests={name: _with_gpu(request, gpu) for name, request in requests.items()},
        spaces=spaces,
        first=first[: search.trials],
        trials=search.trials,
        seconds=search.seconds,
        prune=search.prune,
        seed=spec.seed,
    )


def _own_values(family: str, request: FitRequest, space: Mapping[str, object]) -> tuple[Draw, ...]:
    """The parameters that loop.yaml has anyway are tried first, if the space holds them."""
    values = {name: request.parameters[name] for name in space}
    return (Draw(family, values),) if is_inside(space, values) else ()  # type: ignore[arg-type]


def _with_gpu(request: FitRequest, gpu: bool) -> FitRequest:
    from dataclasses import replace

    return replace(request, use_gpu=gpu)


def _import_torch() -> None:
    import onnxruntime  # noqa: F401
    import torch.onnx  # noqa: F401
