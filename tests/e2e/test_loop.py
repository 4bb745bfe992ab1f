"""The story of one model, on the real parts: trained through a kill, replaced, rolled back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from sklearn.datasets import load_breast_cancer

from agentloop.lifecycle.mlflow_registry import MlflowRegistry
from agentloop.serving import control_store

SPEC = """\
name: tumours
data:
  source: {kind: csv, path: rows.csv}
  target: diagnosis
model:
  parameters: {hidden: [16], epochs: 10}
  search:
    trials: 2
    space: {learning_rate: {low: 0.003, high: 0.03, log: true}}
validation: {min_accuracy: 0.85}
serving: {port: 0}
rollout: {steps: [30, 100], step_seconds: 6, bake_seconds: 600}
monitoring: {port: 0, flush_seconds: 0.5}
"""


@dataclass
class Workspace:
    """A folder with loop.yaml and rows.csv, and the command line as a user has it."""

    folder: Path
    environment: dict[str, str]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "agentloop.cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def agentloop(self, *arguments: str) -> tuple[int, Any, str]:
        """Exit code, the JSON on stdout (None if there is none), stderr."""
        with self.start(*arguments, "--json") as process:
            out, err = process.communicate(timeout=240)
        return process.returncode, json.loads(out) if out.strip() else None, err

    def write_rows(self, rows: int) -> None:
        data = load_breast_cancer(as_frame=True)
        frame = data.data.rename(columns=lambda name: name.replace(" ", "_"))
        frame["diagnosis"] = data.target.map(dict(enumerate(data.target_names)))
        frame.head(rows).to_csv(self.folder / "rows.csv", index=False)


@pytest.fixture(scope="module")
def workspace() -> Iterator[Workspace]:
    folder = Path(tempfile.mkdtemp(prefix="al-", dir=tempfile.gettempdir()))
    dropped = ("PYTHONDONTWRITEBYTECODE", "RAY_ADDRESS")
    environment = {k: v for k, v in os.environ.items() if k not in dropped}
    environment["AGENTLOOP_HOME"] = str(folder / "home")
    (folder / "loop.yaml").write_text(SPEC, encoding="utf-8")
    space = Workspace(folder, environment)
    yield space
    space.agentloop("down")
    shutil.rmtree(folder, ignore_errors=True)


def kill_after(process: subprocess.Popen[str], line: str) -> None:
    """SIGKILL a run right after it says ``line``."""
    assert process.stderr is not None
    with process:
        for text in process.stderr:
            if text.startswith(line):
                process.kill()
                break


REQUESTS = 800
SHARE = 0.30
# Half the width of the binomial 99.9% interval around SHARE for REQUESTS draws.
SLACK = 3.29 * (SHARE * (1 - SHARE) / REQUESTS) ** 0.5


@dataclass
class Story:
    """What happened, step by step."""

    first: dict[str, Any]
    resumed_log: str
    versions_after_kill: int
    again: dict[str, Any]
    split: Counter[str]
    second: dict[str, Any]


def ask(endpoint: str, body: bytes) -> tuple[str, dict[str, Any]]:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(endpoint, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers["x-model-version"], json.load(answer)


def await_canary(space: Workspace, process: subprocess.Popen[str]) -> None:
    while process.poll() is None:
        weights = space.agentloop("status")[1]["models"][0]["weights"]
        if SHARE * 100 in weights.values():
            return
        time.sleep(0.1)
    pytest.fail("the rollout ended before its canary was seen")


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    receipt: dict[str, Any] = json.loads(out)
    return receipt


@pytest.fixture(scope="module")
def story(workspace: Workspace) -> Story:
    workspace.write_rows(500)
    kill_after(workspace.start("run", "loop.yaml"), "validate: started")
    code, first, log = workspace.agentloop("run", "loop.yaml")
    assert code == 0, log
    registry = MlflowRegistry(first["mlflow_uri"])
    after_kill = len(registry.versions("tumours"))
    code, again, log_again = workspace.agentloop("run", "loop.yaml")
    assert code == 0, log_again

    workspace.write_rows(569)
    rollout = workspace.start("run", "loop.yaml", "--json")
    await_canary(workspace, rollout)
    assert workspace.agentloop("rollout", "pause", "tumours")[0] == 0
    body = (workspace.folder / "home" / "requests" / "tumours.json").read_bytes()
    split = Counter(ask(first["endpoint"], body)[0] for _ in range(REQUESTS))
    assert workspace.agentloop("rollout", "resume", "tumours")[0] == 0
    return Story(first, log, after_kill, again, split, finish(rollout))


def test_a_killed_run_goes_on_after_its_last_finished_stage(story: Story) -> None:
    assert "ingest: kept" in story.resumed_log
    assert "train: kept" in story.resumed_log
    assert story.versions_after_kill == 1


def test_the_receipt_holds_what_a_person_wants_to_know(story: Story) -> None:
    receipt = story.first
    assert receipt["decision"]["approved"]
    assert receipt["decision"]["reasons"]
    assert receipt["model_version"].startswith("1.0.0-")
    assert receipt["metrics"]["accuracy"] > 0.85
    names = [stage["name"] for stage in receipt["stages"]]
    assert names == ["cluster", "ingest", "train", "validate", "deploy", "monitor"]


def test_an_unchanged_run_changes_nothing(story: Story) -> None:
    assert story.again["changed"] is False
    assert story.again["model_version"] == story.first["model_version"]


def test_changed_data_give_the_next_version_beside_the_first(story: Story) -> None:
    old, new = story.first["model_version"], story.second["model_version"]
    assert new.startswith("1.1.0-")
    assert story.second["data_version"] != story.first["data_version"]
    assert story.second["traffic"] == {old: 0.0, new: 100.0}


def test_two_versions_split_traffic_near_their_weights(story: Story) -> None:
    assert set(story.split) == {story.first["model_version"], story.second["model_version"]}
    share = story.split[story.second["model_version"]] / REQUESTS
    assert abs(share - SHARE) <= SLACK


def test_predict_sends_a_row_to_the_served_version(workspace: Workspace, story: Story) -> None:
    code, answer, _ = workspace.agentloop("predict", "tumours")
    assert code == 0
    assert answer["model_version"] == story.second["model_version"]
    assert answer["labels"][0] in ("benign", "malignant")


def test_metrics_count_what_was_answered(story: Story) -> None:
    wanted = 'model_inference_requests_total{endpoint="infer",model_version="{}",status="200"}'
    lines = [wanted.replace("{}", version) for version in story.split]
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with urllib.request.urlopen(story.second["metrics_url"], timeout=5) as answer:
            page = answer.read().decode()
        if all(line in page for line in lines):
            return
        time.sleep(0.2)
    pytest.fail(f"not on the page: {lines}")


def test_everything_listens_on_loopback_alone(workspace: Workspace, story: Story) -> None:
    record = json.loads((workspace.folder / "home" / "cluster.json").read_text())
    head = psutil.Process(record["pid"])
    family = {head.pid, *(child.pid for child in head.children(recursive=True))}
    listening = [c for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    ours = [c for c in listening if c.pid in family]
    assert ours
    outside = [c.laddr for c in ours if c.laddr.ip not in ("127.0.0.1", "::ffff:127.0.0.1", "::1")]
    assert outside == []


def test_bad_input_is_refused_before_anything_is_touched(
    workspace: Workspace, story: Story
) -> None:
    bad = Path(workspace.folder / "bad.yaml")
    bad.write_text((workspace.folder / "loop.yaml").read_text().replace("target:", "taget:"))
    code, answer, log = workspace.agentloop("run", "bad.yaml")
    assert code == 10
    assert "did you mean 'target'" in log
    assert answer["exit_code"] == 10


def test_a_target_that_is_not_there_leaves_the_served_version(
    workspace: Workspace, story: Story
) -> None:
    bad = (workspace.folder / "loop.yaml").read_text().replace("diagnosis", "diagnose")
    (workspace.folder / "bad.yaml").write_text(bad)
    code, _, log = workspace.agentloop("run", "bad.yaml")
    assert code == 23
    assert "Did you mean 'diagnosis'?" in log
    code, answer, _ = workspace.agentloop("predict", "tumours")
    assert (code, answer["model_version"]) == (0, story.second["model_version"])


def test_a_rejected_version_gives_its_replicas_back(workspace: Workspace, story: Story) -> None:
    strict = (workspace.folder / "loop.yaml").read_text().replace("0.85", "1.0")
    (workspace.folder / "strict.yaml").write_text(strict.replace("model:", "model:\n  seed: 5"))
    code, receipt, log = workspace.agentloop("run", "strict.yaml")
    assert code == 50, log
    assert not receipt["decision"]["approved"]
    store = control_store(workspace.folder / "home")
    deadline = time.monotonic() + 20
    while receipt["model_version"] in {staged.version for staged in store.staged()}:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert workspace.agentloop("predict", "tumours")[0] == 0


def test_rollback_returns_to_the_warm_version(workspace: Workspace, story: Story) -> None:
    code, answer, log = workspace.agentloop("rollback", "tumours")
    assert code == 0, log
    body = (workspace.folder / "home" / "requests" / "tumours.json").read_bytes()
    assert answer["model_version"] == story.first["model_version"]
    assert ask(story.first["endpoint"], body)[0] == story.first["model_version"]


def test_up_serves_again_what_was_served_before_down(workspace: Workspace, story: Story) -> None:
    assert workspace.agentloop("down")[1]["stopped"]
    code, answer, log = workspace.agentloop("up")
    assert code == 0, log
    assert story.first["model_version"] in answer["restored"]
    assert workspace.agentloop("predict", "tumours")[0] == 0
