"""Search, then fit: what ``train_with_checkpoints`` does, on Ray Tune and Ray Train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentloop.contracts.spec import AUTO
from agentloop.contracts.spec_families import parameters_of
from agentloop.training.calibration import calibrate
from agentloop.training.config import TrainingConfig
from agentloop.training.dataset import PreparedData
from agentloop.training.decisions import choose_workers
from agentloop.training.families import family_of, is_network
from agentloop.training.fits import FitRequest, Part
from agentloop.training.head import Head
from agentloop.training.metrics import measure
from agentloop.training.ray_session import cluster_gpus
from agentloop.training.recipe import Recipe
from agentloop.training.requests import fit_request
from agentloop.training.search_space import SearchResult, check_space
from agentloop.training.searching_ray import search_families
from agentloop.training.selection import Chosen, choose_members, out_of_fold
from agentloop.training.trained import Member, TrainedModel, load_member

Say = Callable[[str], None]


def fit_best(
    config: TrainingConfig, data: PreparedData, ray_ready: Callable[[], None], say: Say
) -> TrainedModel:
    """The best of the search, fitted. An earlier attempt's search and checkpoints are used.

    Raises TrainingError, TrainingDiverged, ClusterError.
    """
    fitting = Fitting(config, data, ray_ready, say)
    return fitting.ensemble() if config.spec.family == AUTO else fitting.single()


def fit_recipe(
    config: TrainingConfig,
    data: PreparedData,
    recipe: Recipe,
    ray_ready: Callable[[], None] = lambda: None,
    say: Say = lambda text: None,
) -> TrainedModel:
    """What ``recipe`` tells of, fitted again without any search. Raises like ``fit_best``."""
    return Fitting(config, data, ray_ready, say).again(recipe)


class Fitting:
    """One attempt at one training: where it keeps its state, and what its parts share."""

    def __init__(
        self,
        config: TrainingConfig,
        data: PreparedData,
        ray_ready: Callable[[], None],
        say: Say,
    ) -> None:
        self._config, self._data, self._say = config, data, say
        self._folder = config.attempt_dir
        self._ray_ready = _once(ray_ready)

    def single(self) -> TrainedModel:
        """The family asked for, with the best parameters of its search if it has one."""
        spec, data = self._config.spec, self._data
        check_space(spec.family, spec.search)
        request = self.request(spec.family, parameters_of(spec.family, spec.parameters))
        family_of(spec.family).check(request)
        search = None
        if spec.search.trials and spec.search.space:
            search = self._search({spec.family: request})
            request = request.with_parameters(**search.best.parameters)
        fit, tune = data.fit, data.tune
        member = self.fit_member(request, fit, tune, 1.0, self._folder / "fit")
        raw = load_member(member, request).raw(tune.features)
        head, calibration = calibrate(data.target, raw, tune.targets)
        return TrainedModel(
            spec.family, (member,), head, search, calibration, self._workers(request)
        )

    def ensemble(self) -> TrainedModel:
        """Models of all families that suit the data, chosen on the rows that validate them and
        fitted anew on the whole training split."""
        data = self._data
        search = self._search({})
        chosen = choose_members(search, data, self._folder, self._config.spec.search.members)
        for one in chosen:
            self._say(f"chosen: {one.trial.family}, weight {one.weight:.2f}")
        raw, targets = out_of_fold(chosen, data, self._folder)
        head, calibration = calibrate(data.target, raw, targets)
        members = tuple(self._refit(number, one) for number, one in enumerate(chosen))
        measured = measure(data.target.task, head.apply(raw), targets)
        # As recorded for ``again``: the networks among the members may have had workers.
        workers = max(self._workers(self.request(one.trial.family, {})) for one in chosen)
        return TrainedModel(AUTO, members, head, search, calibration, workers, True, measured)

    def again(self, recipe: Recipe) -> TrainedModel:
        """The members of a recipe, with its temperature."""
        data = self._data
        fit, tune = (data.train, None) if recipe.refit else (data.fit, data.tune)
        members = []
        for number, one in enumerate(recipe.members):
            request = replace(self.request(one.family, one.parameters), seed=one.seed)
            folder = self._folder / "members" / str(number)
            members.append(self.fit_member(request, fit, tune, one.weight, folder))
        target = data.target
        head = Head(target.task, target.mean, target.scale, recipe.temperature)
        return TrainedModel(
            self._config.spec.family,
            tuple(members),
            head,
            workers=recipe.workers,
            refit=recipe.refit,
        )

    def request(self, family: str, parameters: Mapping[str, Any]) -> FitRequest:
        return fit_request(self._config, self._data, family, parameters)

    def fit_member(
        self, request: FitRequest, fit: Part, tune: Part | None, weight: float, folder: Path
    ) -> Member:
        from agentloop.training.ray_trainer import train_with_ray

        workers = self._workers(request)
        if workers:
            self._ray_ready()
        request = replace(request, use_gpu=_gpu(self._config.spec.use_gpu, workers, request))
        where = f"{workers} workers" if workers else "this process"
        self._say(f"training {request.family} on {len(fit.targets)} rows in {where}")
        failures = self._config.spec.max_failures
        fitted = train_with_ray(request, fit, tune, workers, folder, failures, self._say)
        return Member(request.family, request.parameters, request.seed, fitted, weight)

    def _refit(self, number: int, chosen: Chosen) -> Member:
        request = self.request(chosen.trial.family, chosen.parameters)
        folder = self._folder / "members" / str(number)
        return self.fit_member(request, self._data.train, None, chosen.weight, folder)

    def _search(self, requests: Mapping[str, FitRequest]) -> SearchResult:
        return search_families(
            self._config, self._data, requests, self._folder, self._ray_ready, self._say
        )

    def _workers(self, request: FitRequest) -> int:
        if not is_network(request.family):
            return 0
        spec, data = self._config.spec, self._data
        return choose_workers(spec.num_workers, len(data.train.targets), data.layout.width)


def _once(call: Callable[[], None]) -> Callable[[], None]:
    """``call`` the first time, nothing afterwards."""
    called: list[bool] = []

    def first() -> None:
        if not called:
            called.append(True)
            call()

    return first


def _gpu(requested: bool | str, workers: int, request: FitRequest) -> bool:
    if not is_network(request.family):
        return False
    if requested != "auto":
        return bool(requested)
    if workers:
        return cluster_gpus() >= workers
    import torch

    return bool(torch.cuda.is_available())
