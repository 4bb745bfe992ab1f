"""Values in MLflow while a training goes on, on real stores, one of which goes away."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from agentloop.contracts import TrackingFailed
from agentloop.lifecycle.mlflow_store import open_client
from agentloop.training import mlflow_tracker
from agentloop.training.live_journal import Journal, tell_epoch
from agentloop.training.mlflow_tracker import MLflowTracker


def test_half_a_line_of_a_killed_fit_is_not_read(tmp_path):
    tell_epoch(tmp_path / "fit", {"train_loss": 0.5, "val_loss": float("nan")}, 1)
    with (tmp_path / "fit" / "epochs.jsonl").open("a") as file:
        file.write('{"at": 1, "st')
    journal = Journal(tmp_path, "run")
    assert [(t.name, t.value, t.step) for t in journal.read()] == [("epoch_train_loss", 0.5, 1)]
    assert journal.read() == []


def test_members_do_not_share_a_curve(tmp_path):
    for number in (0, 1):
        tell_epoch(tmp_path / "members" / str(number), {"train_loss": 0.5}, 1)
    names = [told.name for told in Journal(tmp_path, "run").read()]
    assert names == ["member_0/epoch_train_loss", "member_1/epoch_train_loss"]


def _wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


async def test_epochs_and_the_machine_are_seen_while_training_goes_on(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracker = MLflowTracker(uri, tmp_path / "artifacts")
    client = open_client(uri)
    async with tracker.start_run("exp", "run", "key", {}, tmp_path / "told") as run_id:
        tell_epoch(tmp_path / "told" / "fit", {"train_loss": 0.5, "val_loss": 0.6}, 1)
        _wait_for(lambda: "epoch_val_loss" in client.get_run(run_id).data.metrics)
        assert client.get_run(run_id).info.status == "RUNNING"
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["system/process_memory_megabytes"] > 0


@pytest.fixture
def server(tmp_path):
    """Starts a real MLflow server on one port, again and again; kills the last one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []

    def start():
        started.append(_serve(tmp_path, port))
        return f"http://127.0.0.1:{port}", lambda: _kill(started[-1])

    yield start
    for process in started:
        if process.poll() is None:
            _kill(process)


def _serve(folder, port):
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{folder}/server.db", "--workers", "1"),
        *("--artifacts-destination", str(folder / "served")),
    ]
    process = subprocess.Popen(
        command, cwd=folder, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        start_new_session=True, env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )  # fmt: skip

    def healthy():
        assert process.poll() is None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    _wait_for(healthy, 240)  # on a busy machine it takes a minute to start
    return process


def _kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


async def test_a_server_that_goes_away_and_comes_back_loses_nothing(tmp_path, server):
    uri, kill = server()
    tracker = MLflowTracker(uri, tmp_path / "artifacts")
    fit = tmp_path / "told" / "fit"
    async with tracker.start_run("exp", "run", "key", {}, tmp_path / "told") as run_id:
        tell_epoch(fit, {"train_loss": 0.5}, 1)
        kill()
        began = time.monotonic()
        for epoch in range(2, 60):
            tell_epoch(fit, {"train_loss": 0.5 / epoch}, epoch)
        assert time.monotonic() - began < 1
        server()
    client = open_client(uri)
    history = client.get_metric_history(run_id, "epoch_train_loss")
    assert sorted({metric.step for metric in history}) == list(range(1, 60))
    assert client.get_run(run_id).info.status == "FINISHED"


async def test_a_server_that_stays_away_ends_in_an_error_and_the_next_attempt_delivers(
    tmp_path, server, monkeypatch
):
    monkeypatch.setattr(mlflow_tracker, "WAIT_S", 1.0)
    uri, kill = server()
    tracker = MLflowTracker(uri, tmp_path / "artifacts")
    runs = []

    async def attempt():
        async with tracker.start_run("exp", "run", "key", {}, tmp_path / "told") as run_id:
            runs.append(run_id)
            kill()
            tell_epoch(tmp_path / "told" / "fit", {"train_loss": 0.5}, 1)

    with pytest.raises(TrackingFailed, match="it goes on"):
        await attempt()
    server()
    async with tracker.start_run("exp", "run", "key", {}, tmp_path / "told") as second:
        pass
    client = open_client(uri)
    assert client.get_run(runs[0]).info.status == "KILLED"
    assert client.get_run(second).data.metrics["epoch_train_loss"] == 0.5
