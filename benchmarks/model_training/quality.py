"""`family: auto` on public data sets, beside scikit-learn's histogram gradient boosting.

Each data set is trained in a process of its own, from a loop.yaml of ``tasks``; the peer is fitted
on the same stored rows (its categories as integers, told to it as such), with seed 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
SHARED = CHECKOUT.parent / "shared"
MAX_SECONDS = 600.0
AUC, ACCURACY, R2 = "roc_auc", "accuracy", "r2"

# The published or reference figures (SPLITS.md): default settings, untuned.
REFERENCES: dict[str, dict[str, float]] = {
    "adult": {ACCURACY: 0.872, AUC: 0.927},
    "bank_marketing": {ACCURACY: 0.748, AUC: 0.634},
    "credit_default": {ACCURACY: 0.827, AUC: 0.779},
    "telco_churn": {ACCURACY: 0.778, AUC: 0.822},
    "german_credit": {ACCURACY: 0.779, AUC: 0.759},
    "wine_quality": {ACCURACY: 0.803, AUC: 0.885},
    "employment_ma": {ACCURACY: 0.828, AUC: 0.905},
    "mnist": {ACCURACY: 0.990},
    "bike_sharing": {R2: 0.641},
}
# A quick run says whether it works, not how good the models are.
QUICK, QUICK_S = ("wine_quality",), 30.0


def run(quick: bool, tasks: tuple[str, ...] = ()) -> tuple[list[dict[str, Any]], list[Any]]:
    """Rows of both on every task, and the targets. Nothing where the data are not there."""
    rows: list[dict[str, Any]] = []
    targets: list[dict[str, Any]] = []
    if not (SHARED / "data").is_dir():
        print(f"no data sets at {SHARED.name}/data: quality is skipped", file=sys.stderr)
        return rows, targets
    for task in tasks or (QUICK if quick else tuple(REFERENCES)):
        with tempfile.TemporaryDirectory(prefix="al-task-") as folder:
            ours = measure_ours(task, Path(folder) / "home", QUICK_S if quick else None)
            rows.append(_row(task, "agentloop", ours))
            rows.append(_row(task, "HGB, defaults", measure_peer(task, Path(ours["dataset"]))))
        targets.extend(_targets(task, ours))
        print(json.dumps(rows[-2:]), file=sys.stderr)
    return rows, targets


def measure_ours(task: str, home: Path, seconds: float | None) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "task_run.py")]
    arguments = [str(HERE / "tasks" / f"{task}.yaml"), str(SHARED), str(home)]
    if seconds is not None:
        arguments.append(str(seconds))
    done = subprocess.run([*command, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure_peer(task: str, dataset: Path) -> dict[str, Any]:
    """The peer on the stored rows; nothing for images, which are no table."""
    if task == "mnist":
        return {"metrics": {}, "train_s": None}
    script = str(HERE / "peer_hgb.py")
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, script, str(HERE / "tasks" / f"{task}.yaml"), str(dataset)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    metrics = json.loads(done.stdout.splitlines()[-1])
    return {"metrics": metrics, "train_s": round(time.monotonic() - began, 1)}


def _row(task: str, who: str, found: dict[str, Any]) -> dict[str, Any]:
    metrics = {name: found["metrics"].get(name) for name in (ACCURACY, AUC, R2)}
    told = {name: None if value is None else round(value, 4) for name, value in metrics.items()}
    return {"task": task, "who": who, **told, "seconds": found["train_s"]}


def _targets(task: str, ours: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for metric, reference in REFERENCES[task].items():
        value = round(ours["metrics"][metric], 4)
        # References have three digits.
        holds = round(value, 3) >= reference
        name = f"{task}, {metric}"
        found.append(_target(name, value, reference, holds, "at least", ""))
    seconds = ours["train_s"]
    name = f"{task}, training"
    found.append(_target(name, seconds, MAX_SECONDS, seconds <= MAX_SECONDS, "at most", "s"))
    return found


def _target(
    name: str, value: float, target: float, holds: bool, direction: str, unit: str
) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "target": target,
        "unit": unit,
        "direction": direction,
        "holds": holds,
    }
