"""One trial of a search, in a worker process: every fold fitted, measured and scored."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agentloop.contracts.errors import TrainingDiverged
from agentloop.training.families import family_of
from agentloop.training.fits import Alone, FitRequest, Fold, Part

LOSS, PROGRESS = "val_loss", "progress"
SCORES = "scores"
# A trial of one fold tells of itself at these shares of its epochs.
LOOKS = (20, 30, 45, 67)


def try_draw(
    config: dict[str, Any],
    requests: Mapping[str, FitRequest],
    train: Part,
    folds: tuple[Fold, ...],
    folder: str,
    threads: int,
) -> None:
    """What a Tune trial runs. Divergence is a bad result, not a failure of the search."""
    from ray import tune

    started = time.monotonic()
    request = requests[config["family"]].with_parameters(**config["parameters"])
    told = {"parameters": dict(request.parameters)}

    def report(progress: int, loss: float, **more: Any) -> None:
        seconds = time.monotonic() - started
        tune.report({LOSS: loss, PROGRESS: progress, "seconds": seconds, **told, **more})

    try:
        losses, rounds, scores = _fit_folds(request, train, folds, threads, report)
    except TrainingDiverged:
        report(100, math.inf)
        return
    name = f"{SCORES}/{config['number']}.npy"
    write_scores(Path(folder) / name, np.concatenate(scores))
    report(100, float(np.mean(losses)), rounds=rounds, scores=name)


def _fit_folds(
    request: FitRequest, train: Part, folds: tuple[Fold, ...], threads: int, report: Any
) -> tuple[list[float], list[int], list[Any]]:
    family = family_of(request.family)
    losses: list[float] = []
    rounds: list[int] = []
    scores: list[Any] = []
    alone = Alone(_looks(request, report) if len(folds) == 1 else None, threads)
    for number, fold in enumerate(folds, start=1):
        tune_part = train.rows(fold.tune)
        fitted = family.fit(request, train.rows(fold.fit), tune_part, alone)
        if not math.isfinite(fitted.best_loss):
            raise TrainingDiverged("the validation loss is no number")
        losses.append(fitted.best_loss)
        rounds.append(fitted.best_epoch)
        scores.append(family.load(request, fitted.weights).raw(tune_part.features))
        if number < len(folds):
            report(100 * number // len(folds), float(np.mean(losses)))
    return losses, rounds, scores


def _looks(request: FitRequest, report: Any) -> Any:
    """Tells of the best loss so far when a share of the epochs in ``LOOKS`` is done."""
    epochs = request.parameters.get("epochs")
    best, looks = [math.inf], list(LOOKS)

    def after(epoch: int, loss: float) -> None:
        if not epochs:
            return  # trees are told of when they all stand
        best[0] = min(best[0], loss)
        share = 100 * epoch // epochs
        if looks and share >= looks[0] and share < 100:
            while looks and share >= looks[0]:
                looks.pop(0)
            report(share, best[0])

    return after


def write_scores(path: Path, scores: Any) -> None:
    """Under another name, then moved: never half there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("wb") as file:
        np.save(file, np.asarray(scores, np.float32), allow_pickle=False)
    partial.replace(path)
