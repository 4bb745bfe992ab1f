"""Which trials of a search are stopped early: ASHA among trials of the same family.

Losses after the same share of the work compare within a family alone: half of the trees, or of the
epochs, of one says nothing about the half of another.
"""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from agentloop.training.tune_trial import LOSS, PROGRESS

# ASHA (Li et al. 2020, arXiv 1810.05934): of those that came as far, the better two thirds go on.
REDUCTION, WHOLE = 1.5, 100


class FamilyAsha(FIFOScheduler):
    """One ASHA a family; no trial is judged before ``first_look`` percent of its work."""

    def __init__(self, first_look: int) -> None:
        super().__init__()
        self._first_look = first_look
        self._by_family: dict[str, Any] = {}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._of(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        decision: str = self._of(trial).on_trial_result(tune_controller, trial, result)
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._of(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._of(trial).on_trial_remove(tune_controller, trial)

    def _of(self, trial: Any) -> Any:
        family = str(trial.config.get("family", ""))
        if family not in self._by_family:
            self._by_family[family] = ASHAScheduler(
                time_attr=PROGRESS,
                metric=LOSS,
                mode="min",
                max_t=WHOLE,
                grace_period=self._first_look,
                reduction_factor=REDUCTION,
            )
        return self._by_family[family]
