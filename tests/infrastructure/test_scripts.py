"""The scripts of the night shift, against a real HTTP server and a stub of the command line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

HEALTHY = {
    "/v2/health/live": (200, b"{}"),
    "/v2/health/ready": (200, b"{}"),
    "/v2/models/churn": (200, b'{"name": "churn", "versions": ["1.2.0-ab12cd34-9f8e7d6c"]}'),
}


@contextmanager
def serving(answers: dict[str, tuple[int, bytes]], fail_first: int = 0) -> Iterator[str]:
    """An endpoint with these answers; its first ``fail_first`` requests get 503."""
    seen = 0

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal seen
            seen += 1
            status, body = answers.get(self.path, (404, b""))
            self.send_response(503 if seen <= fail_first else status)
            if 300 <= status < 400:
                self.send_header("Location", "/v2/health/live")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody() -> str:
    """An endpoint where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def health(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "scripts/health_check.py"), "--wait=0.01", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_healthy_endpoint_passes(root: Path) -> None:
    with serving(HEALTHY) as url:
        outcome = health(root, f"--endpoint={url}/", "--model=churn", "--json", "--exit-on-failure")
    report = json.loads(outcome.stdout)
    assert (outcome.returncode, report["healthy"]) == (0, True)
    assert [check["name"] for check in report["checks"]] == ["live", "ready", "model"]
    assert "1.2.0-ab12cd34-9f8e7d6c" in report["checks"][2]["detail"]


def test_an_endpoint_that_is_not_ready_fails_only_with_the_flag(root: Path) -> None:
    with serving(HEALTHY | {"/v2/health/ready": (503, b"")}) as url:
        plain = health(root, f"--endpoint={url}", "--retries=0")
        flagged = health(root, f"--endpoint={url}", "--retries=0", "--exit-on-failure")
    assert (plain.returncode, flagged.returncode) == (0, 1)
    assert "ok   live" in plain.stdout
    assert "FAIL ready" in plain.stdout
    assert "503" in plain.stdout


def test_an_endpoint_that_is_down_fails_without_a_traceback(root: Path, nobody: str) -> None:
    outcome = health(root, f"--endpoint={nobody}", "--exit-on-failure", "--json")
    (live, ready) = json.loads(outcome.stdout)["checks"]
    assert outcome.returncode == 1
    assert (live["status"], live["attempts"], ready["ok"]) == (0, 3, False)
    assert outcome.stderr == ""


def test_an_endpoint_that_comes_up_meanwhile_passes(root: Path) -> None:
    with serving(HEALTHY, fail_first=2) as url:
        outcome = health(root, f"--endpoint={url}", "--retries=2", "--exit-on-failure", "--json")
    assert outcome.returncode == 0
    assert json.loads(outcome.stdout)["checks"][0]["attempts"] == 3


def test_an_endpoint_that_never_answers_runs_into_the_timeout(root: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        outcome = health(root, f"--endpoint={url}", "--timeout=0.2", "--retries=0", "--json")
    assert "timed out" in json.loads(outcome.stdout)["checks"][0]["detail"]


@pytest.mark.parametrize(
    "answer", [(404, b""), (200, b"<html>"), (200, b"[]"), (302, b"")], ids=str
)
def test_a_model_that_is_not_there_fails(root: Path, answer: tuple[int, bytes]) -> None:
    with serving(HEALTHY | {"/v2/models/churn": answer}) as url:
        outcome = health(
            root, f"--endpoint={url}", "--model=churn", "--retries=0", "--exit-on-failure"
        )
    assert outcome.returncode == 1
    assert "FAIL model" in outcome.stdout


@pytest.mark.parametrize(
    "arguments",
    [[], ["--endpoint=localhost:8700"], ["--endpoint=http://x", "--timeout=0"],
     ["--endpoint=http://x", "--retries=-1"]],
    ids=str,
)  # fmt: skip
def test_wrong_arguments_are_refused(root: Path, arguments: list[str]) -> None:
    assert health(root, *arguments).returncode == 2


# --- emergency_rollback.sh ------------------------------------------------------------------------


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    """A folder with an `agentloop` that writes down how it was called."""
    script = tmp_path / "bin" / "agentloop"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\necho "$@" >>"$CALLS"\nexit "${STUB_EXIT:-0}"\n')
    script.chmod(0o755)
    return tmp_path


def rollback(
    root: Path, stub: Path, *arguments: str, stub_exit: int = 0
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    calls = stub / "calls"
    environment = os.environ | {
        "PATH": f"{stub / 'bin'}:{os.environ['PATH']}",
        "CALLS": str(calls),
        "STUB_EXIT": str(stub_exit),
    }
    environment.pop("AGENTLOOP", None)
    outcome = subprocess.run(
        ["bash", str(root / "scripts/emergency_rollback.sh"), *arguments],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    return outcome, calls.read_text().splitlines() if calls.exists() else []


def test_a_rollback_that_serves_again_says_so(root: Path, stub: Path) -> None:
    with serving(HEALTHY) as url:
        outcome, calls = rollback(root, stub, "churn", "--yes", "--endpoint", url)
    assert (outcome.returncode, calls) == (0, ["rollback churn"])
    assert outcome.stdout == f"rolled back churn; {url} is healthy\n"


def test_a_rollback_that_fails_is_not_checked_further(root: Path, stub: Path) -> None:
    outcome, calls = rollback(root, stub, "churn", "--yes", stub_exit=7)
    assert (outcome.returncode, calls) == (1, ["rollback churn"])
    assert "exit code 7" in outcome.stderr
    assert outcome.stdout == ""


def test_a_rollback_that_does_not_serve_has_its_own_exit_code(
    root: Path, stub: Path, nobody: str
) -> None:
    outcome, _ = rollback(root, stub, "churn", "--yes", "--endpoint", nobody)
    assert outcome.returncode == 3
    assert "not healthy" in outcome.stderr


def test_nothing_is_rolled_back_unasked(root: Path, stub: Path) -> None:
    outcome, calls = rollback(root, stub, "churn")
    assert (outcome.returncode, calls) == (4, [])
    assert "--yes" in outcome.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["a", "b"], ["--force", "a"], ["a", "--endpoint"]], ids=str
)
def test_a_rollback_of_nothing_in_particular_is_refused(
    root: Path, stub: Path, arguments: list[str]
) -> None:
    outcome, calls = rollback(root, stub, *arguments)
    assert (outcome.returncode, calls) == (2, [])
    assert "Exit codes" in outcome.stderr


def test_shell_scripts_pass_shellcheck(root: Path, tool: Callable[[str], str]) -> None:
    shellcheck = tool("shellcheck")
    script = str(root / "scripts/emergency_rollback.sh")
    outcome = subprocess.run(
        [shellcheck, "-x", script], capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stdout
