"""The command line: light help, clean stdout, documented exit codes."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from agentloop.cli.explain import as_agentloop_error
from agentloop.cli.rich_progress import LineProgress, TableProgress
from agentloop.cli.rich_receipt import print_receipt
from agentloop.contracts import Decision, DiskFull, PortInUse, Receipt, StageTime

HEAVY = ("ray", "torch", "mlflow", "pydantic", "pandas", "dbos", "rich")


def agentloop(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agentloop.cli", *arguments],
        cwd=folder,
        env={**os.environ, "AGENTLOOP_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(option: str) -> None:
    code = (
        "import sys\nfrom agentloop.cli.main import main\n"
        f"try: main(['{option}'])\nexcept SystemExit: pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_wrong_usage_ends_with_2(tmp_path: Path) -> None:
    assert agentloop(tmp_path, "fly").returncode == 2
    assert agentloop(tmp_path, "run").returncode == 2


def test_a_missing_spec_is_one_message_and_one_json_object(tmp_path: Path) -> None:
    done = agentloop(tmp_path, "run", "nowhere.yaml", "--json")
    assert done.returncode == 14
    assert json.loads(done.stdout)["exit_code"] == 14
    assert "nowhere.yaml" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("source", "rows", "code"),
    [("none.csv", "a,y\n1,x\n", 21), ("rows.csv", "", 22)],
    ids=["source does not exist", "source is empty"],
)
def test_bad_data_ends_with_its_own_code(tmp_path: Path, source: str, rows: str, code: int) -> None:
    (tmp_path / "rows.csv").write_text(rows)
    spec = f"name: m\ndata: {{source: {{kind: csv, path: {source}}}, target: label}}\n"
    (tmp_path / "loop.yaml").write_text(spec)
    done = agentloop(tmp_path, "run", "loop.yaml")
    assert done.returncode == code, done.stderr
    assert not (tmp_path / "home" / "cluster.json").exists()  # told before a cluster is started
    assert "Traceback" not in done.stderr


def test_check_says_that_a_spec_is_valid(tmp_path: Path) -> None:
    spec = "name: m\ndata: {source: {kind: csv, path: a.csv}, target: y}\n"
    (tmp_path / "loop.yaml").write_text(spec)
    done = agentloop(tmp_path, "check", "loop.yaml", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["name"] == "m"


def test_predict_before_a_run_says_what_to_run(tmp_path: Path) -> None:
    done = agentloop(tmp_path, "predict", "m")
    assert done.returncode == 64
    assert "agentloop run" in done.stderr


def test_the_typed_error_is_found_inside_its_wrappers() -> None:
    inner = PortInUse("taken", port=8700)
    try:
        try:
            raise pickle.loads(pickle.dumps(inner))
        except PortInUse as error:
            raise RuntimeError("wrapped") from error
    except RuntimeError as wrapped:
        found = as_agentloop_error(wrapped)
    assert isinstance(found, PortInUse)
    assert found.port == 8700


def test_a_full_disk_is_told_as_such() -> None:
    assert isinstance(as_agentloop_error(OSError(errno.ENOSPC, "full", "/x")), DiskFull)
    assert as_agentloop_error(ValueError("other")) is None


@pytest.mark.parametrize("kind", [LineProgress, TableProgress])
def test_progress_tells_each_stage(kind: type[LineProgress | TableProgress]) -> None:
    stream = io.StringIO()
    with kind("m: loop.yaml", stream) as progress:
        progress.started("ingest")
        progress.finished("ingest", 1.25, "569 rows")
        progress.kept("train", "version 1.0.0")
        progress.failed("validate")
    told = stream.getvalue()
    assert "ingest" in told
    assert "569 rows" in told
    assert "version 1.0.0" in told


def test_the_receipt_shows_what_a_person_wants_to_know() -> None:
    receipt = Receipt(
        model="m",
        data_version="d1",
        model_version="1.0.0",
        run_id="r1",
        metrics={"accuracy": 0.97},
        decision=Decision(True, ("accuracy is fine",)),
        endpoint="http://127.0.0.1:8700/v2/models/m/infer",
        metrics_url="http://127.0.0.1:8701/metrics",
        mlflow_uri="sqlite:///x",
        dashboard_url="http://127.0.0.1:8265",
        stages=(StageTime("train", 2.0),),
        changed=True,
        traffic={"1.0.0": 100.0},
        curl="curl -s http://127.0.0.1:8700/v2/models/m/infer -d @x",
    )
    stream = io.StringIO()
    print_receipt(receipt, stream)
    for fact in ("1.0.0", "d1", "0.97", "accuracy is fine", receipt.endpoint, receipt.curl):
        assert fact in stream.getvalue()
