"""Durable runs on a real PostgreSQL: killed, gone on with, and told when it is not there."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

STAGES = ["ingest", "train", "validate", "deploy", "monitor"]
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))

PROGRAM = """
import json, sys
from pathlib import Path
from agentloop.contracts import StateUnreachable
from agentloop.loop.dbos_workflow import LoopWorkflow, configure, past_workflows, run_workflow
from agentloop.loop.fakes import FakeStages
from agentloop.loop.home import StateFolder
from agentloop.loop.progress import SilentProgress
from agentloop.loop.run_keys import plan_run

log, database, die_in = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
url = StateFolder(Path("/nowhere"), database).workflow_url
try:
    past = past_workflows(url)
except StateUnreachable as error:
    print(json.dumps(error.as_dict()))
    sys.exit()
configure(url, "m")
plan = plan_run("m", "k", past, False)
workflow = LoopWorkflow(FakeStages(log, die_in), SilentProgress())
outcomes = run_workflow(url, plan.workflow_id, plan.superseded, workflow, plan.training_round)
print(json.dumps({"resumed": plan.resumed, "stages": list(outcomes)}))
"""


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The URL of a fresh server on a free port, in a folder of its own."""
    if not BINARIES:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="al-pg-", dir="/tmp"))
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    if user:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(program: str, *arguments: str) -> None:
        command = [str(BINARIES[-1] / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    run("initdb", "-U", "loop", "-A", "trust", "--no-sync")
    options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories={folder}"
    run("pg_ctl", "-w", "-o", options, "-l", str(folder / "log"), "start")
    yield f"postgresql://loop:secret@127.0.0.1:{port}/agentloop"
    run("pg_ctl", "-w", "-m", "immediate", "stop")
    shutil.rmtree(folder)


def run(log: Path, database: str, die_in: str = "") -> Any:
    command = [sys.executable, "-c", PROGRAM, str(log), database, die_in]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == (-9 if die_in else 0), done.stderr
    return None if die_in else json.loads(done.stdout.splitlines()[-1])


def test_a_killed_run_goes_on_from_postgres(tmp_path: Path, database: str) -> None:
    log = tmp_path / "log"
    run(log, database, die_in="validate")
    assert run(log, database) == {"resumed": True, "stages": STAGES}
    assert log.read_text().split() == ["ingest", "train", "validate", *STAGES[2:]]


def test_a_database_that_does_not_answer_is_told_without_its_password(tmp_path: Path) -> None:
    told = run(tmp_path / "log", "postgresql://loop:secret@127.0.0.1:1/agentloop")
    assert told["exit_code"] == 84
    assert "loop:***@127.0.0.1:1" in told["message"]
    assert "secret" not in json.dumps(told)
