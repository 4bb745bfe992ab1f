"""``agentloop ingest`` as a user types it. A small batch needs no cluster."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SPEC = """\
name: towns
data:
  source: {kind: csv, path: rows.csv, time_column: at}
  target: y
  columns: {size: {minimum: 0}}
  checks: {on_failure: %s, min_rows: 2}
"""
HEADER = "at,size,y\n"
ROWS = "".join(f"2026-01-{day:02},{day},{day % 2}\n" for day in range(1, 21))


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "rows.csv").write_text(HEADER + ROWS)
    path = tmp_path / "loop.yaml"
    path.write_text(SPEC % "reject")
    return path


def run(spec: Path, *options: str) -> tuple[int, str, str]:
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    environment["AGENTLOOP_HOME"] = str(spec.parent / "home")
    command = [sys.executable, "-m", "agentloop.cli", "ingest", str(spec), *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def ingest(spec: Path, *options: str) -> tuple[int, dict, str]:
    code, out, err = run(spec, "--json", *options)
    return code, json.loads(out), err


def test_a_batch_becomes_a_version_without_a_cluster(spec):
    code, batch, _ = ingest(spec, "--batch", "monday")
    assert (code, batch["id"], batch["version"]["rows"]) == (0, "monday", 20)
    assert not (spec.parent / "home" / "cluster.json").exists()
    page = Path(batch["version"]["uri"], "profile.html").read_text()
    assert batch["version"]["version"] in page


def test_the_table_shows_times_as_times(spec):
    code, out, _ = run(spec)
    assert code == 0
    assert "2026-01-10" in out
    assert "profile.html" in out


def test_since_last_takes_what_is_new_and_says_when_there_is_nothing(spec):
    assert ingest(spec)[0] == 0
    code, error, err = ingest(spec, "--since", "last")
    assert (code, error["error"]) == (18, "NothingNew")
    assert "nothing later than 2026-01-20T00:00:00" in err
    with (spec.parent / "rows.csv").open("a") as file:
        file.write("2026-02-01,5,1\n2026-02-02,6,0\n")
    assert ingest(spec, "--since", "last")[1]["version"]["rows"] == 2


def test_a_rejected_batch_tells_every_finding_with_its_rows(spec):
    with (spec.parent / "rows.csv").open("a") as file:
        file.write("2026-02-01,-5,1\n")
    code, error, _ = ingest(spec)
    assert (code, error["error"]) == (26, "DataQualityError")
    finding = next(f for f in error["findings"] if f["check"] == "minimum")
    assert (finding["count"], finding["rows"][0]["#"]) == (1, "21")
    assert finding["policy"] == "data.checks.on_failure: reject"
    assert Path(error["quarantine"], "reasons.json").exists()


def test_rows_set_aside_leave_the_rest(spec):
    spec.write_text(SPEC % "quarantine")
    with (spec.parent / "rows.csv").open("a") as file:
        file.write("2026-02-01,-5,1\n2026-02-02,big,1\n2026-02-03,4\n")
    code, batch, _ = ingest(spec)
    checks = {f["check"] for f in batch["validation"]["findings"] if f["severity"] == "quarantine"}
    assert (code, batch["version"]["rows"], checks) == (0, 20, {"minimum", "kind", "torn"})


def test_since_needs_a_time_column(spec):
    spec.write_text((SPEC % "reject").replace(", time_column: at", ""))
    code, _, err = ingest(spec, "--since", "last")
    assert code == 10
    assert str(spec) in err
