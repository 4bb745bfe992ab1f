"""Searches on a real cluster: resumed, pruned, ended by time, and many families as one model."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from agentloop.contracts import TrainingDiverged, TrainingError
from agentloop.contracts.spec import RangeSpec
from agentloop.contracts.spec_families import defaults_of
from agentloop.lifecycle import open_bundle
from agentloop.training import ModelTrainingPipeline
from agentloop.training.fits import FitRequest, Fold, Layout, Part, Target
from agentloop.training.search_journal import JOURNAL
from agentloop.training.search_space import Draw, SearchPlan

WIDTH, ROWS = 5, 300
SPACE = {"weight_decay": RangeSpec(low=1e-5, high=1.0, log=True)}


def plan(trials: int, seconds: float | None = None, **parameters: object) -> SearchPlan:
    chosen = {**defaults_of("linear"), "epochs": 3, **parameters}
    layout = Layout((0.0,) * WIDTH, (1.0,) * WIDTH)
    request = FitRequest("linear", layout, Target("binary", ("a", "b")), chosen, 0, ".")
    first = (Draw("linear", {"weight_decay": 0.01}),)
    return SearchPlan({"linear": request}, {"linear": SPACE}, first, trials, seconds, False, 0)


def rows() -> tuple[Part, tuple[Fold, ...]]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, WIDTH)).astype(np.float32)
    order = np.arange(ROWS)
    fold = Fold(order[: ROWS // 2], order[ROWS // 2 :])
    return Part(x, (x[:, 0] > 0).astype(np.int64)), (fold, Fold(fold.tune, fold.fit))


def search(asked: SearchPlan, folder: Path, said: list[str] | None = None):
    from agentloop.training.tune_search import search_parameters

    train, folds = rows()
    return search_parameters(asked, train, folds, 1, folder, (said or []).append)


def test_trials_are_told_of_scored_and_not_tried_again(cluster, tmp_path):
    said: list[str] = []
    from agentloop.training.tune_search import search_parameters

    train, folds = rows()
    result = search_parameters(plan(4), train, folds, 1, tmp_path, said.append)
    assert result.trials[0].parameters["weight_decay"] == 0.01
    assert len(result.trials) == len(said) == 4
    assert all(len(t.rounds) == 2 and t.finished for t in result.trials)
    scores = np.load(tmp_path / result.best.scores)
    assert (scores.shape, scores.dtype) == ((ROWS, 2), np.float32)
    began = time.monotonic()
    assert search(plan(4), tmp_path).trials == result.trials
    assert time.monotonic() - began < 1.0
    more = search(plan(6), tmp_path)
    assert more.trials[:4] == result.trials
    assert len(more.trials) == 6


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import ray
from agentloop.training.search_journal import SearchJournal
from test_search import plan, search
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
add = SearchJournal.add
def once(self, number, trial, seconds):
    add(self, number, trial, seconds)
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
SearchJournal.add = once
search(plan(6), Path(sys.argv[1]))
"""


def test_a_search_whose_driver_was_killed_goes_on_as_if_it_had_not_been(cluster, tmp_path):
    whole = search(plan(6), tmp_path / "whole")
    script = KILLED.format(tests=str(Path(__file__).parent))
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "disabled",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    folder = tmp_path / "killed"
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    assert len((folder / JOURNAL).read_text().splitlines()) == 1 + 3
    resumed = search(plan(6), folder)
    assert [t.parameters for t in resumed.trials] == [t.parameters for t in whole.trials]
    assert [t.loss for t in resumed.trials] == [t.loss for t in whole.trials]


def test_a_search_that_has_no_time_left_says_so(cluster, tmp_path):
    with pytest.raises(TrainingError, match="came to its end in time"):
        search(plan(500, seconds=0.01, epochs=3000, patience=3000), tmp_path)


def test_a_search_where_all_diverge_says_so(cluster, tmp_path):
    with pytest.raises(TrainingDiverged, match="all 2"):
        search(plan(2, learning_rate=1e30), tmp_path)


async def test_many_families_become_one_sealed_model(cluster, make_config, tmp_path):
    families = ["linear", "gradient-boosting", "extra-trees"]
    config = make_config(
        family="auto", search={"trials": 6, "seconds": 120, "families": families, "folds": 3}
    )
    said: list[str] = []
    result = await ModelTrainingPipeline(config, on_progress=said.append).train_model("exp")
    version = result.model_version
    bundle = open_bundle(Path(version.artifact_uri), version.digest)
    recipe = json.loads((bundle.path / "recipe.json").read_text())
    assert {m["family"] for m in recipe["members"]} <= set(families)
    assert sum(m["weight"] for m in recipe["members"]) == pytest.approx(1.0)
    assert recipe["refit"] is True
    assert result.metrics["onnx_max_difference"] <= 1e-5
    assert result.metrics["accuracy"] > 0.9
    assert result.metrics["val_accuracy"] > 0.9
    assert version.tags["architecture"] == "auto"
    assert sum(text.startswith("trial") for text in said) == 6
