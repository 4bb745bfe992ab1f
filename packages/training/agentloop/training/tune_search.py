"""The search: Optuna's draws, tried as Ray Tune trials on reused actors."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentloop.contracts.errors import TrainingDiverged, TrainingError
from agentloop.contracts.spec import ChoiceSpec, ParametersSpec, RangeSpec, SearchSpec
from agentloop.training.dataset import Part
from agentloop.training.fits import FitRequest
from agentloop.training.ray_session import CPUS_PER_WORKER, require_ray
from agentloop.training.search_space import SearchResult, Trial, best_of, decode, encode

LOSS = "val_loss"


def search_parameters(
    request: FitRequest,
    train: Part,
    tune_part: Part,
    search: SearchSpec,
    defaults: ParametersSpec,
    actors: int,
    folder: Path,
    on_progress: Callable[[str], None],
) -> SearchResult:
    """Try ``search.trials`` draws, ``actors`` at a time; the one with the lowest validation loss.

    The spec's own parameters are tried first if the space holds them. The draws depend on
    ``request.seed`` alone for the first ten trials; after them Optuna learns from results, whose
    order may differ where actors run side by side. Raises TrainingError, TrainingDiverged (all
    trials diverged), ClusterError (Ray has not been started).
    """
    require_ray()
    _quiet()
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    shutil.rmtree(folder, ignore_errors=True)
    first = encode(search, defaults)
    trainable = tune.with_resources(
        tune.with_parameters(
            _try_draw, request=request, parts=(train, tune_part), search=search, defaults=defaults
        ),
        {"cpu": CPUS_PER_WORKER, "gpu": 1.0 / actors if request.use_gpu else 0.0},
    )
    tuner = tune.Tuner(
        trainable,
        param_space={name: _domain(tune, space) for name, space in search.space.items()},
        tune_config=tune.TuneConfig(
            metric=LOSS,
            mode="min",
            num_samples=search.trials,
            max_concurrent_trials=actors,
            search_alg=OptunaSearch(
                seed=request.seed, points_to_evaluate=[first] if first is not None else None
            ),
            reuse_actors=True,  # a fresh actor a trial spends 2 s on importing torch
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder),
            verbose=0,
            callbacks=[_progress_callback(on_progress, search.trials)],
        ),
    )
    return _result(list(tuner.fit()), search, defaults)


def _try_draw(
    config: dict[str, Any],
    request: FitRequest,
    parts: tuple[Part, Part],
    search: SearchSpec,
    defaults: ParametersSpec,
) -> None:
    """One trial, in a worker. Divergence is a bad result, not a failure of the search."""
    from ray import tune

    from agentloop.training.torch_loop import Alone, fit

    started = time.monotonic()
    parameters = decode(config, search, defaults).model_dump(mode="json")
    try:
        loss = fit(replace(request, parameters=parameters), *parts, Alone()).best_loss
    except TrainingDiverged:
        loss = math.inf
    tune.report({LOSS: loss, "seconds": time.monotonic() - started})


def _result(results: list[Any], search: SearchSpec, defaults: ParametersSpec) -> SearchResult:
    trials = []
    for result in results:
        if result.error is not None:
            raise _cause(result.error)
        parameters = decode(result.config, search, defaults).model_dump(mode="json")
        loss = float(result.metrics[LOSS])
        seconds = round(float(result.metrics["seconds"]), 3)
        trials.append(Trial(parameters, loss if math.isfinite(loss) else None, seconds))
    best = best_of(tuple(trials))
    if best is None:
        raise TrainingDiverged(f"all {len(trials)} search trials diverged")
    return SearchResult(best.parameters, tuple(trials))


def _cause(error: BaseException) -> TrainingError:
    """The TrainingError that a trial died of, out of Ray's wrapping, or one that quotes it."""
    known: BaseException | None = error
    while known is not None:
        inner = getattr(known, "cause", None) or known.__cause__
        if isinstance(known, TrainingError):
            return known
        known = inner if isinstance(inner, BaseException) else None
    lines = [line for line in str(error).splitlines() if line.strip()]
    return TrainingError(f"a search trial failed: {lines[-1].strip() if lines else error!r}")


def _domain(tune: Any, space: RangeSpec | ChoiceSpec) -> Any:
    if isinstance(space, ChoiceSpec):
        return tune.choice(list(range(len(space.choices))))
    if space.integer:
        low, high = int(space.low), int(space.high) + 1
        return tune.lograndint(low, high) if space.log else tune.randint(low, high)
    if space.log:
        return tune.loguniform(space.low, space.high)
    return tune.uniform(space.low, space.high)


def _progress_callback(on_progress: Callable[[str], None], trials: int) -> Any:
    from ray.tune import Callback

    class Report(Callback):
        done = 0

        def on_trial_complete(self, *, trial: Any, **info: Any) -> None:
            self.done += 1
            loss = trial.last_result.get(LOSS, math.nan)
            on_progress(f"trial {self.done} of {trials}: validation loss {loss:.4f}")

        def __reduce__(self) -> tuple[Any, ...]:
            return Callback, ()  # the Tuner pickles itself; who listens stays in this process

    return Report()


def _quiet() -> None:
    """Tune prints tables and writes a log for TensorBoard, which costs an import of torch."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
