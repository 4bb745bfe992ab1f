"""Which of a search's models answer together, and what they answer for rows they had not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.errors import TrainingError
from agentloop.training.dataset import PreparedData
from agentloop.training.ensemble import select_members
from agentloop.training.families import is_network
from agentloop.training.search_space import SearchResult, Trial

Raw = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A trial whose model is fitted anew, on all rows, with ``parameters``."""

    trial: Trial
    weight: float
    parameters: Mapping[str, Any]


def choose_members(
    search: SearchResult, data: PreparedData, folder: Path, members: int
) -> tuple[Chosen, ...]:
    """Up to ``members`` of the finished trials, whose weights sum to 1.

    ``folder`` is the search's. Raises TrainingError where a trial's scores can not be read.
    """
    finished = [t for t in search.trials if t.loss is not None and t.scores and not t.pruned]
    scores = [read_scores(folder, trial) for trial in finished]
    targets = tuning_targets(data)
    if not finished:
        raise TrainingError("no trial of the search finished: give model.search more seconds")
    picked = select_members(scores, targets, data.target, members)
    return tuple(
        Chosen(finished[index], weight, refit_parameters(finished[index]))
        for index, weight in picked
    )


def refit_parameters(trial: Trial) -> dict[str, Any]:
    """The trial's parameters with as many epochs, or trees, as did best on its folds."""
    rounds = max(1, round(float(np.mean(trial.rounds))))
    name = "epochs" if is_network(trial.family) else "trees"
    return {**trial.parameters, name: rounds}


def out_of_fold(
    chosen: Sequence[Chosen], data: PreparedData, folder: Path
) -> tuple[Raw, npt.NDArray[Any]]:
    """The members' weighted raw scores of the rows that validate, (rows, outputs), each by a model
    that had not seen it; and the rows' targets."""
    total = sum(one.weight * read_scores(folder, one.trial).astype(np.float64) for one in chosen)
    return np.asarray(total, np.float32), tuning_targets(data)


def tuning_targets(data: PreparedData) -> npt.NDArray[Any]:
    """Targets of all folds' tune rows, folds in order."""
    return np.concatenate([data.train.targets[fold.tune] for fold in data.folds])


def read_scores(folder: Path, trial: Trial) -> Raw:
    """float32 (rows, outputs). Raises TrainingError."""
    try:
        scores: Raw = np.load(folder / trial.scores, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise TrainingError(f"the scores of a search trial are gone ({error})") from None
    return scores
