"""A real DBOS workflow on SQLite, killed in every stage and started again."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STAGES = ["ingest", "train", "validate", "deploy", "monitor"]

PROGRAM = """
import json, sqlite3, sys
from pathlib import Path
from typing import Any
from agentloop.contracts import TrainingError
from agentloop.loop.dbos_workflow import LoopWorkflow, configure, past_workflows, run_workflow
from agentloop.loop.fakes import FakeStages
from agentloop.loop.progress import SilentProgress
from agentloop.loop.run_keys import plan_run

class Broken:
    def __init__(self, order):
        self.stage, _, self.store_too = order.partition("+")
    def __call__(self, stage):
        if stage == self.stage:
            if self.store_too:
                with sqlite3.connect(url.removeprefix("sqlite:///")) as store:
                    for event in ("insert on operation_outputs", "update on workflow_status"):
                        name, act = event.split()[0], "begin select raise(abort, 'full'); end"
                        store.execute(f"create trigger {name}_fails before {event} {act}")
            raise TrainingError("it broke") from OSError(28, "cause")

folder, asked = Path(sys.argv[1]), json.loads(sys.argv[2])
url = f"sqlite:///{folder / 'workflows.db'}"
configure(url, asked["model"])
fakes = FakeStages(folder / "log", asked["die_in"], asked["approved"], asked["seconds"],
                   Broken(asked["fail_in"]))
plan = plan_run(asked["model"], asked["key"], past_workflows(url), False)
told = {"resumed": plan.resumed}
try:
    workflow = LoopWorkflow(fakes, SilentProgress())
    told["outcomes"] = run_workflow(
        url, plan.workflow_id, plan.superseded, workflow, plan.training_round
    )
    told["past"] = {w.id: w.status for w in past_workflows(url)}
except TrainingError as error:
    told["error"] = [str(error), repr(error.__cause__)]
print(json.dumps(told))
"""


def run(folder: Path, **asked: Any) -> Any:
    defaults = {"model": "m", "key": "k1", "die_in": "", "approved": True, "seconds": 0.0}
    order = json.dumps({**defaults, "fail_in": "", **asked})
    command = [sys.executable, "-c", PROGRAM, str(folder), order]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    died = bool(asked.get("die_in"))
    assert done.returncode == (-9 if died else 0), done.stderr
    return None if died else json.loads(done.stdout.splitlines()[-1])


def ran(folder: Path) -> list[str]:
    return (folder / "log").read_text().split()


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_run_goes_on_in_the_stage_that_was_cut_off(tmp_path: Path, stage: str) -> None:
    run(tmp_path, die_in=stage)
    result = run(tmp_path)
    assert result["resumed"]
    assert list(result["outcomes"]) == STAGES
    position = STAGES.index(stage)
    assert ran(tmp_path) == STAGES[: position + 1] + STAGES[position:]


def test_a_rejected_version_is_not_deployed(tmp_path: Path) -> None:
    result = run(tmp_path, approved=False)
    assert list(result["outcomes"]) == ["ingest", "train", "validate"]


def test_an_interrupted_run_of_another_spec_is_cancelled(tmp_path: Path) -> None:
    run(tmp_path, key="old", die_in="train")
    result = run(tmp_path, key="new")
    assert not result["resumed"]
    assert result["past"] == {"m:old:0:0": "CANCELLED", "m:new:0:0": "SUCCESS"}
    assert ran(tmp_path) == ["ingest", "train", *STAGES]


def test_an_interrupted_run_of_another_model_is_left_alone(tmp_path: Path) -> None:
    run(tmp_path, model="a", die_in="train")
    result = run(tmp_path, model="b", seconds=0.6)  # long enough for DBOS to take up the other
    assert result["past"] == {"a:k1:0:0": "PENDING", "b:k1:0:0": "SUCCESS"}
    assert ran(tmp_path) == ["ingest", "train", *STAGES]
    assert run(tmp_path, model="a")["resumed"]


@pytest.mark.parametrize("resumed", [False, True])
def test_a_failed_stage_is_raised_with_its_cause_and_then_tried_again(
    tmp_path: Path, resumed: bool
) -> None:
    if resumed:
        run(tmp_path, die_in="train")
    told, cause = run(tmp_path, fail_in="train")["error"]
    assert "it broke" in told
    assert "OSError" in cause
    assert list(run(tmp_path)["outcomes"]) == STAGES


@pytest.mark.parametrize("resumed", [False, True])
def test_a_failure_that_cannot_be_recorded_is_raised_all_the_same(
    tmp_path: Path, resumed: bool
) -> None:
    if resumed:
        run(tmp_path, die_in="train")
    assert "it broke" in run(tmp_path, fail_in="train+store")["error"][0]


def test_a_run_that_other_steps_began_is_not_gone_on_with(tmp_path: Path) -> None:
    run(tmp_path, die_in="train")
    with sqlite3.connect(tmp_path / "workflows.db") as store:
        store.execute("update workflow_status set application_version = 'agentloop-steps-0:m'")
    result = run(tmp_path)
    assert not result["resumed"]
    assert list(result["outcomes"]) == STAGES
