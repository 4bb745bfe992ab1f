"""What a search costs beyond the work of its trials: twenty trials that do next to nothing."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

TRIALS = 20
ROUNDS, QUICK_ROUNDS = 3, 1
MOST_S = 0.5


def run(quick: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and the target. Starts a cluster of two processors and stops it."""
    import ray
    from overhead import start_ray

    trials, starts = [], []
    with tempfile.TemporaryDirectory(prefix="al-search-") as folder:
        start_ray(ray)
        try:
            for number in range(QUICK_ROUNDS if quick else ROUNDS):
                print(f"search: round {number + 1}", file=sys.stderr)
                each, start = one_search(Path(folder) / str(number))
                trials.append(each)
                starts.append(start)
        finally:
            ray.shutdown()
    rows = [_row("a trial beyond its own work", trials), _row("until the first trial ends", starts)]
    value = round(statistics.median(trials), 3)
    target = {
        "name": f"seconds of a trial beyond its own work, {TRIALS} trials, one actor",
        "value": value,
        "target": MOST_S,
        "unit": "s",
        "direction": "at most",
        "holds": value <= MOST_S,
    }
    return rows, [target]


def one_search(folder: Path) -> tuple[float, float]:
    """Seconds a trial takes from the end of the one before it, less its own; and those until the
    first one ends."""
    from agentloop.contracts.spec import RangeSpec
    from agentloop.contracts.spec_families import defaults_of
    from agentloop.training.fits import FitRequest, Fold, Layout, Part, Target
    from agentloop.training.search_journal import JOURNAL
    from agentloop.training.search_space import SearchPlan
    from agentloop.training.tune_search import search_parameters

    features = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
    train = Part(features, (features[:, 0] > 0).astype(np.int64))
    folds = (Fold(np.arange(300), np.arange(300, 400)),)
    layout = Layout((0.0,) * 4, (1.0,) * 4)
    parameters = {**defaults_of("linear"), "epochs": 2}
    request = FitRequest("linear", layout, Target("binary", ("a", "b")), parameters, 0, ".")
    space = {"weight_decay": RangeSpec(low=1e-5, high=1.0, log=True)}
    plan = SearchPlan({"linear": request}, {"linear": space}, (), TRIALS, None, True, 0)
    began = time.monotonic()
    search_parameters(plan, train, folds, 1, folder, lambda text: None)
    total = time.monotonic() - began
    lines = [json.loads(line) for line in (folder / JOURNAL).read_text().splitlines()[1:]]
    ends = [line["seconds"] for line in lines]
    own = [line["trial"]["seconds"] for line in lines]
    each = (ends[-1] - ends[0] - sum(own[1:])) / (len(ends) - 1)
    print(f"search: {total:.1f} s in all", file=sys.stderr)
    return each, ends[0]


def _row(name: str, values: list[float]) -> dict[str, Any]:
    return {
        "measured": name,
        "median_s": round(statistics.median(values), 4),
        "min_s": round(min(values), 4),
        "max_s": round(max(values), 4),
        "rounds": len(values),
    }
