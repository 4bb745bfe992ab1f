"""The search on Ray Tune: draws by ``optuna_draws``, tried on reused actors, pruned by ASHA."""

from __future__ import annotations

import logging
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentloop.contracts.errors import TrainingDiverged, TrainingError
from agentloop.training.fits import Fold, Part
from agentloop.training.optuna_draws import Draws
from agentloop.training.processors import usable_cpus
from agentloop.training.ray_session import CPUS_PER_WORKER, require_ray
from agentloop.training.search_journal import SearchJournal
from agentloop.training.search_space import SearchPlan, SearchResult, Trial, best_of
from agentloop.training.tune_trial import LOSS, PROGRESS, try_draw

# Percent of a trial's work that it is given: two of five folds, or some epochs of the one.
FIRST_LOOK = {True: 40, False: 20}

Say = Callable[[str], None]


def search_parameters(
    plan: SearchPlan,
    train: Part,
    folds: tuple[Fold, ...],
    actors: int,
    folder: Path,
    on_progress: Say,
) -> SearchResult:
    """Try the plan's draws, ``actors`` at a time, each on every fold.

    What an earlier attempt tried in ``folder`` is not tried again. Draws depend on the plan's seed
    and on the results before them, whose order may differ where actors run side by side. Raises
    TrainingError (no trial finished, or one failed), TrainingDiverged (all diverged), ClusterError
    (Ray has not been started).
    """
    require_ray()
    _quiet()
    rows = f"{train.features.shape}{[len(fold.tune) for fold in folds]}"
    journal = SearchJournal(folder, plan, rows)
    run = _Run(plan, journal, on_progress)
    left = None if plan.seconds is None else plan.seconds - journal.seconds
    if len(journal.trials) < plan.trials and (left is None or left > 0):
        _tune(run, train, folds, actors, folder, left)
    return run.result()


def _tune(
    run: _Run,
    train: Part,
    folds: tuple[Fold, ...],
    actors: int,
    folder: Path,
    seconds: float | None,
) -> None:
    from ray import tune

    from agentloop.training.tune_pruning import FamilyAsha

    shutil.rmtree(folder / "tune", ignore_errors=True)
    plan = run.plan
    use_gpu = any(request.use_gpu for request in plan.requests.values())
    threads = max(1, usable_cpus() // actors)
    trainable = tune.with_resources(
        tune.with_parameters(
            try_draw,
            requests=dict(plan.requests),
            train=train,
            folds=folds,
            folder=str(folder),
            threads=threads,
        ),
        {"cpu": CPUS_PER_WORKER, "gpu": 1.0 / actors if use_gpu else 0.0},
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            metric=LOSS,
            mode="min",
            num_samples=plan.trials - len(run.journal.trials),
            max_concurrent_trials=actors,
            search_alg=run.searcher(),
            scheduler=FamilyAsha(FIRST_LOOK[len(folds) > 1]) if plan.prune else None,
            time_budget_s=seconds,
            reuse_actors=True,  # a fresh actor a trial spends 2 s on importing torch
        ),
        run_config=tune.RunConfig(
            name="tune", storage_path=str(folder), verbose=0, callbacks=[run.callback()]
        ),
    )
    for result in tuner.fit():
        if result.error is not None:
            raise _cause(result.error)


class _Run:
    """What the searcher and the callback of one search share; both run in this process."""

    def __init__(self, plan: SearchPlan, journal: SearchJournal, say: Say) -> None:
        self.plan, self.journal = plan, journal
        self._say = say
        self._started = time.monotonic() - journal.seconds
        self._draws = Draws(plan)
        for trial in journal.trials.values():
            self._draws.tell(trial)
        self._open = iter(n for n in range(plan.trials) if n not in journal.trials)

    def next_draw(self) -> dict[str, Any] | None:
        number = next(self._open, None)
        if number is None:
            return None
        draw = self._draws.ask(number)
        return {"number": number, "family": draw.family, "parameters": dict(draw.parameters)}

    def ended(self, config: dict[str, Any], last: dict[str, Any], curve: list[float]) -> None:
        """Once a trial: its last report tells whether it came to its end."""
        if "number" not in config or config["number"] in self.journal.trials:
            return
        whole = last.get(PROGRESS) == 100
        loss = float(last.get(LOSS, math.nan))
        trial = Trial(
            family=config["family"],
            parameters=last.get("parameters") or config["parameters"],
            loss=loss if math.isfinite(loss) else None,
            seconds=round(float(last.get("seconds", 0.0)), 3),
            rounds=tuple(last.get("rounds", ())) if whole else (),
            pruned=not whole,
            scores=str(last.get("scores", "")) if whole else "",
            curve=tuple(value for value in curve if math.isfinite(value)),
        )
        self._draws.tell(trial)
        self.journal.add(config["number"], trial, time.monotonic() - self._started)
        self._tell(trial)

    def result(self) -> SearchResult:
        trials = tuple(trial for _, trial in sorted(self.journal.trials.items()))
        best = best_of(trials)
        if best is None and trials and all(trial.loss is None for trial in trials):
            raise TrainingDiverged(f"all {len(trials)} search trials diverged")
        if best is None:
            raise TrainingError(
                "no trial of the search came to its end in time",
                next_step="raise model.search.seconds, or search fewer families",
            )
        return SearchResult(best, trials, round(self.journal.seconds, 1))

    def _tell(self, trial: Trial) -> None:
        done = self.journal.trials
        best = best_of(tuple(done.values()))
        loss = "diverged" if trial.loss is None else f"validation loss {trial.loss:.4f}"
        parts = [f"trial {len(done)} of {self.plan.trials} ({trial.family}): {loss}"]
        if trial.pruned:
            parts.append("stopped early")
        if best is not None and best.loss is not None:
            parts.append(f"best {best.loss:.4f}")
        if self.plan.seconds is not None:
            left = max(0.0, self.plan.seconds - (time.monotonic() - self._started))
            parts.append(f"{left:.0f} s left")
        self._say(", ".join(parts))

    def searcher(self) -> Any:
        from ray.tune.search import Searcher

        run = self

        class Numbered(Searcher):
            def suggest(self, trial_id: str) -> Any:
                return run.next_draw() or Searcher.FINISHED

            def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False):  # type: ignore[no-untyped-def]
                return None

            def save(self, checkpoint_path: str) -> None:
                return None  # the journal is what a search is resumed from

            def restore(self, checkpoint_path: str) -> None:
                return None

            def __reduce__(self) -> tuple[Any, ...]:
                return Searcher, (LOSS, "min")  # as the callback below

        return Numbered(metric=LOSS, mode="min")

    def callback(self) -> Any:
        from ray.tune import Callback

        run = self

        class Record(Callback):
            def __init__(self) -> None:
                self.curves: dict[str, list[float]] = {}

            def on_trial_result(self, *, trial: Any, result: Any, **info: Any) -> None:
                self.curves.setdefault(trial.trial_id, []).append(float(result[LOSS]))

            def on_trial_complete(self, *, trial: Any, **info: Any) -> None:
                curve = self.curves.pop(trial.trial_id, [])
                run.ended(trial.config, trial.last_result or {}, curve)

            def __reduce__(self) -> tuple[Any, ...]:
                return Callback, ()  # the Tuner pickles itself; who listens stays in this process

        return Record()


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


def _quiet() -> None:
    """Tune prints tables and writes a log for TensorBoard, which costs an import of torch."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
    # What Tune keeps for a resume of its own is written at its end only: ours is the journal.
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
    # It warns of every trial that no logger wrote a file for.
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
