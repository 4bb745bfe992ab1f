"""What to try next: Optuna's tree-structured Parzen estimator over families and their parameters.

Draw number n depends on the seed, on n and on the results told so far, and on nothing else: a
search that was cut off goes on with the draws it would have had.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from agentloop.contracts.spec import ChoiceSpec, RangeSpec
from agentloop.training.search_space import Draw, SearchPlan, Trial, validated

RANDOM_DRAWS = 10
FAMILY = "family"


class Draws:
    """Draws by number. Tell it of each trial that ended."""

    def __init__(self, plan: SearchPlan) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._plan = plan
        self._study = optuna.create_study(direction="minimize")

    def ask(self, number: int) -> Draw:
        """The draw of that number, from 0."""
        if number < len(self._plan.first):
            return self._plan.first[number]
        seed = int(np.random.SeedSequence([self._plan.seed, number]).generate_state(1)[0])
        with warnings.catch_warnings():
            # Draws of one family at a time are "experimental" there, for years by now.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.sampler = optuna.samplers.TPESampler(
                seed=seed,
                multivariate=True,
                group=True,
                n_startup_trials=RANDOM_DRAWS,
                constant_liar=True,
            )
        trial = self._study.ask()
        families = tuple(self._plan.requests)
        family = trial.suggest_categorical(FAMILY, families)
        chosen = {
            name: _suggest(trial, f"{family}/{name}", searched)
            for name, searched in self._plan.spaces[family].items()
        }
        # What is told is told by values: the asked trial itself is not needed any more.
        self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return Draw(family, validated(chosen))

    def tell(self, trial: Trial) -> None:
        """Take a trial that ended into account, unless it lies outside of the spaces."""
        space = self._plan.spaces[trial.family]
        distributions: dict[str, BaseDistribution] = {
            FAMILY: CategoricalDistribution(tuple(self._plan.requests))
        }
        values: dict[str, Any] = {FAMILY: trial.family}
        for name, searched in space.items():
            key = f"{trial.family}/{name}"
            distributions[key] = _distribution(searched)
            values[key] = _value(searched, trial.parameters.get(name))
            if not distributions[key]._contains(distributions[key].to_internal_repr(values[key])):
                return
        state = optuna.trial.TrialState
        ended = trial.loss is not None and not trial.pruned
        self._study.add_trial(
            optuna.trial.create_trial(
                params=values,
                distributions=distributions,
                value=trial.loss,
                state=state.COMPLETE if ended else state.PRUNED,
                intermediate_values=dict(enumerate(trial.curve)),
            )
        )


def _suggest(trial: Any, key: str, searched: RangeSpec | ChoiceSpec) -> Any:
    if isinstance(searched, ChoiceSpec):
        return searched.choices[trial.suggest_int(key, 0, len(searched.choices) - 1)]
    if searched.integer:
        return trial.suggest_int(key, int(searched.low), int(searched.high), log=searched.log)
    return trial.suggest_float(key, searched.low, searched.high, log=searched.log)


def _distribution(searched: RangeSpec | ChoiceSpec) -> BaseDistribution:
    if isinstance(searched, ChoiceSpec):
        return IntDistribution(0, len(searched.choices) - 1)
    if searched.integer:
        return IntDistribution(int(searched.low), int(searched.high), log=searched.log)
    return FloatDistribution(searched.low, searched.high, log=searched.log)


def _value(searched: RangeSpec | ChoiceSpec, value: Any) -> Any:
    """As it is drawn: a choice by its position, -1 where it is none."""
    if not isinstance(searched, ChoiceSpec):
        return float("nan") if value is None else value
    plain = [list(c) if isinstance(c, tuple) else c for c in searched.choices]
    given = list(value) if isinstance(value, tuple) else value
    return plain.index(given) if given in plain else -1
