"""``agentloop lineage`` shows the way from a source to what is served."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from agentloop.lifecycle.lineage import ColumnInput, LineageDataset, LineageEvent, lineage_run
from agentloop.lifecycle.openlineage_emitter import open_lineage

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SOURCE = LineageDataset("source", "file", "/rows.csv", uri="file:/rows.csv")
DATASET = LineageDataset(
    "dataset", "agentloop", "dataset/churn", "d1", rows=1569,
    origins={"ratio": (ColumnInput("file", "/rows.csv", "a", "TRANSFORMATION", "a / b"),)},
)  # fmt: skip
MODEL = LineageDataset("model", "agentloop", "model/churn", "1.0.0", description="accuracy 0.97")
URL = "http://127.0.0.1:8700/v2/models/churn/infer"
SERVED = LineageDataset("endpoint", "agentloop", "endpoint/churn", "1.0.0", uri=URL)
REASON = "a reason that is longer than a terminal is wide, and is told in full nevertheless"


@pytest.fixture
def home(tmp_path):
    emitter = open_lineage(tmp_path / "home", {})

    def told(stage, key, inputs, outputs=(), state="COMPLETE", error=""):
        run = lineage_run("agentloop", f"churn.{stage}", key)
        emitter.emit(LineageEvent(state, NOW, run, inputs, outputs, error))

    told("ingest", "1", (SOURCE,), (DATASET,))
    told("train", "1", (DATASET,), (replace(MODEL),))
    told("deploy", "1", (MODEL,), (SERVED,))
    told("ingest", "2", (SOURCE,), state="FAIL", error=REASON)
    return tmp_path


def agentloop(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "agentloop.cli", "lineage", *arguments],
        cwd=folder,
        env={**os.environ, "AGENTLOOP_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_tree_goes_from_the_source_to_the_endpoint(home):
    done = agentloop(home, "churn")
    assert done.returncode == 0, done.stderr
    lines = [line.lstrip("│├└─ ").rstrip() for line in done.stdout.splitlines()]
    assert lines == [
        "source file:/rows.csv",
        "ingest done, 2026-01-02 03:04:05 UTC, 0.0 s",
        "dataset churn d1, 1,569 rows",
        "train done, 2026-01-02 03:04:05 UTC, 0.0 s",
        "model churn 1.0.0, accuracy 0.97",
        "deploy done, 2026-01-02 03:04:05 UTC, 0.0 s",
        f"endpoint churn 1.0.0, {URL}",
        f"ingest failed, 2026-01-02 03:04:05 UTC, 0.0 s: {REASON}",
    ]


def test_a_second_source_of_one_run_points_to_the_first(home):
    run = lineage_run("agentloop", "churn.ingest", "1")
    second = replace(SOURCE, name="/more.csv", uri="file:/more.csv")
    open_lineage(home / "home", {}).emit(LineageEvent("COMPLETE", NOW, run, (SOURCE, second)))
    lines = agentloop(home, "d1").stdout.splitlines()
    assert lines[-2] == "source file:/more.csv"
    assert lines[-1].endswith("0.0 s (above)")


def test_columns_are_shown_where_asked_for(home):
    assert "ratio ← a  a / b" in agentloop(home, "d1", "--columns").stdout
    assert "ratio" not in agentloop(home, "d1").stdout


def test_json_holds_nodes_edges_and_columns(home):
    told = json.loads(agentloop(home, "1.0.0", "--json", "--columns").stdout)
    ids = {node["id"] for node in told["nodes"]}
    assert {edge["from"] for edge in told["edges"]} | {edge["to"] for edge in told["edges"]} == ids
    assert told["columns"][0]["inputs"] == [["/rows.csv", "a"]]


def test_a_mistyped_name_is_one_message_with_the_nearest(home):
    done = agentloop(home, "chrun", "--json")
    assert done.returncode == 28
    assert json.loads(done.stdout)["known"] == ["churn"]
    assert "Did you mean 'churn'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_before_any_run_it_says_what_to_run_and_makes_no_folder(tmp_path):
    done = agentloop(tmp_path, "churn")
    assert done.returncode == 28
    assert "agentloop run" in done.stderr
    assert not (tmp_path / "home").exists()
