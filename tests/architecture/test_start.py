"""Starting costs little: what is heavy is imported when it is needed, never before."""

import json
import subprocess
import sys

import pytest

HEAVY = {
    "boto3", "dbos", "duckdb", "dvc", "evidently", "mlflow", "onnx", "onnxruntime", "openlineage",
    "optuna", "pandas", "pyarrow", "ray", "sklearn", "scipy", "sqlglot", "torch",
}  # fmt: skip
CPU_S = 0.5  # the aim is 0.15; a busy machine measures more

REPORT = """
import json, resource, sys
{start}
spent = resource.getrusage(resource.RUSAGE_SELF)
loaded = sorted({{name.split(".")[0] for name in sys.modules}})
print(json.dumps({{"loaded": loaded, "cpu_s": spent.ru_utime + spent.ru_stime}}))
"""
# Not through __main__, which leaves without a farewell.
CLI = """
from agentloop.cli.main import main
try:
    main([{argument!r}])
except SystemExit as end:
    assert not end.code, end.code
"""


def start(code: str) -> dict:
    """Runs code in an interpreter of its own; what it loaded, and the CPU time it took."""
    command = [sys.executable, "-c", REPORT.format(start=code)]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    return json.loads(outcome.stdout.splitlines()[-1])


def test_importing_a_package_loads_nothing_heavy(package):
    assert not HEAVY & set(start(f"import agentloop.{package}")["loaded"])


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_the_command_line_starts_fast(argument):
    cost = start(CLI.format(argument=argument))
    assert not HEAVY & set(cost["loaded"])
    assert cost["cpu_s"] < CPU_S
