"""A real DBOS workflow on SQLite, killed in every stage and started again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

STAGES = ["ingest", "train", "validate", "deploy", "monitor"]

PROGRAM = """
import json, sys
from pathlib import Path
from agentloop.loop.dbos_workflow import LoopWorkflow, configure, past_workflows, run_workflow
from agentloop.loop.fakes import FakeStages
from agentloop.loop.progress import SilentProgress
from agentloop.loop.run_keys import plan_run

folder, key, die_in, approved = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "1"
url = f"sqlite:///{folder / 'workflows.db'}"
configure(url)
workflow = LoopWorkflow(FakeStages(folder / "log", die_in, approved), SilentProgress())
plan = plan_run("m", key, past_workflows(url), False)
outcomes = run_workflow(url, plan.workflow_id, plan.superseded, workflow, plan.training_round)
past = {w.id: w.status for w in past_workflows(url)}
print(json.dumps({"outcomes": outcomes, "resumed": plan.resumed, "past": past}))
"""


def run(folder: Path, key: str = "k1", die_in: str = "", approved: bool = True) -> dict | None:
    command = [sys.executable, "-c", PROGRAM, str(folder), key, die_in, "1" if approved else "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == (-9 if die_in else 0), done.stderr
    return None if die_in else json.loads(done.stdout.splitlines()[-1])


def ran(folder: Path) -> list[str]:
    return (folder / "log").read_text().split()


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_run_goes_on_in_the_stage_that_was_cut_off(tmp_path: Path, stage: str) -> None:
    run(tmp_path, die_in=stage)
    result = run(tmp_path)
    assert result is not None
    assert result["resumed"]
    assert list(result["outcomes"]) == STAGES
    position = STAGES.index(stage)
    assert ran(tmp_path) == STAGES[: position + 1] + STAGES[position:]


def test_a_rejected_version_is_not_deployed(tmp_path: Path) -> None:
    result = run(tmp_path, approved=False)
    assert result is not None
    assert list(result["outcomes"]) == ["ingest", "train", "validate"]


def test_an_interrupted_run_of_another_spec_is_cancelled(tmp_path: Path) -> None:
    run(tmp_path, key="old", die_in="train")
    result = run(tmp_path, key="new")
    assert result is not None
    assert not result["resumed"]
    assert result["past"] == {"m:old:0:0": "CANCELLED", "m:new:0:0": "SUCCESS"}
    assert ran(tmp_path) == ["ingest", "train", *STAGES]
