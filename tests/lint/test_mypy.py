"""Every package passes mypy --strict."""

import subprocess
import sys
from pathlib import Path


def folders() -> list[str]:
    """Each package by its folder: `mypy -p agentloop` checks only part of a namespace."""
    return sorted({str(path.parent.parent) for path in Path("packages").glob("*/agentloop/*/*.py")})


def test_packages_are_strictly_typed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mypy", f"--cache-dir={tmp_path}", *folders()]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, f"next: mypy packages/*/agentloop\n{outcome.stdout}"
