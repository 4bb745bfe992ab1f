"""Every Python file of the checkout is clean and formatted."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("check", [("check",), ("format", "--check", "--diff")], ids=lambda c: c[0])
def test_ruff(check: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "ruff", *check, "--no-cache", "--quiet", "."]
    outcome = subprocess.run(
        command, cwd=os.environ["AGENTLOOP_CHECKOUT"], capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, f"next: ruff {check[0]} .\n{outcome.stdout}{outcome.stderr}"
