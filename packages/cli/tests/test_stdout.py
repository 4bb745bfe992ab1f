"""stdout holds the result and nothing else; stderr the diagnosis."""

import io
import json
import os
import subprocess
import sys

import pytest

from agentloop.cli.rich_receipt import print_receipt
from agentloop.contracts import Decision, Receipt, StageTime

NOISY = """
import os, subprocess, sys, warnings
from agentloop.cli.output import keep_stdout_for_the_result
with keep_stdout_for_the_result({debug}) as result:
    print("python")
    os.write(1, b"descriptor\\n")
    subprocess.run([sys.executable, "-c", "print('child')"])
    warnings.warn("a warning")
    print("the result", file=result)
"""


def run(*arguments, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("debug", [False, True])
def test_what_libraries_and_their_children_print_goes_to_stderr(debug):
    done = run("-c", NOISY.format(debug=debug))
    assert done.stdout == "the result\n"
    assert {"python", "descriptor", "child"} <= set(done.stderr.split())
    assert ("a warning" in done.stderr) is debug


def agentloop(folder, *arguments):
    return run("-m", "agentloop.cli", *arguments, cwd=folder, AGENTLOOP_HOME=str(folder / "home"))


def test_debug_shows_the_traceback_and_keeps_the_exit_code(tmp_path):
    done = agentloop(tmp_path, "check", "nowhere.yaml", "--debug", "--json")
    assert (done.returncode, "Traceback" in done.stderr) == (14, True)
    assert json.loads(done.stdout)["error"] == "SpecError"


@pytest.mark.parametrize("command", ["check", "run"])
def test_json_tells_an_error_as_one_object_with_its_fields(tmp_path, command):
    (tmp_path / "loop.yaml").write_text("nam: m\ndata: {source: {kind: csvv}, target: y}\n")
    done = agentloop(tmp_path, command, "loop.yaml", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == told["exit_code"] == 10
    assert [issue["nearest"] for issue in told["issues"]] == ["name", "csv"]
    assert told["message"].splitlines()[0] in done.stderr


def test_commands_that_only_look_leave_no_folder_behind(tmp_path):
    (tmp_path / "loop.yaml").write_text("name: 3\n")
    for words in (["status"], ["down"], ["predict", "m"], ["rollback", "m"], ["run", "loop.yaml"]):
        assert "Traceback" not in agentloop(tmp_path, *words).stderr
    assert not (tmp_path / "home").exists()


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    command = f"{sys.executable} -m agentloop.cli status | true"
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr


def test_the_receipt_wraps_sentences_and_never_paths(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    path = "/home/somebody/with/a/long/path/reports/model/1.0.0-21186212-f5da45e3.report.html"
    receipt = Receipt(
        "m", "d1", "1.0.0", "r1", {"accuracy": 0.97}, Decision(False, ("word " * 40,), ("more",)),
        "", "", "sqlite:///x", "", (StageTime("train", 2.0),), True, report=path,
    )  # fmt: skip
    stream = io.StringIO()
    print_receipt(receipt, stream)
    lines = stream.getvalue().splitlines()
    assert any(path in line for line in lines)
    assert all(len(line) <= 80 for line in lines if path not in line)
    assert "rejected" in stream.getvalue()
    assert not any(line.endswith(" ") for line in lines)
