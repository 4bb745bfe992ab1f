"""A checkout with nothing in it but the launcher, and a uv that does as it is told."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

# Makes the venv without installing anything; what `uv pip install` does is the test's to say.
UV = """#!/bin/bash
case "$1" in
  venv)
    mkdir -p .venv/bin .venv/lib/python3.11/site-packages
    printf '#!/bin/sh\\necho "ran: $*"\\n' >.venv/bin/python
    chmod +x .venv/bin/python ;;
  pip)
    [[ "$*" == *--dry-run* ]] && exit 1
    {install} ;;
esac
"""


@dataclass
class Checkout:
    """A checkout of its own, and the commands its launcher finds on the PATH."""

    root: Path
    bin: Path

    def uv_installs_with(self, command: str) -> None:
        uv = self.bin / "uv"
        uv.write_text(UV.replace("{install}", command))
        uv.chmod(0o755)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": f"{self.bin}:{os.environ['PATH']}", "HOME": str(self.root.parent)}
        return subprocess.run(
            [str(self.root / "agentloop"), *arguments],
            env=env | environment, capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip

    @property
    def venv(self) -> Path:
        return self.root / ".venv"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "checkout"
    shutil.copytree("tools/env", root / "tools/env")
    for name in ("agentloop", "requirements.lock"):
        shutil.copy(name, root / name)
    (root / "packages/contracts/agentloop").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    made = Checkout(root, tmp_path / "bin")
    made.uv_installs_with("exit 0")
    return made
