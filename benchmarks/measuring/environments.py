"""A virtual environment for each peer, of its own pinned requirements."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[1] / "peers"


class NotInstalled(Exception):
    """A peer that could not be installed; the argument says why."""


def python_of(environment: str, folder: Path) -> str:
    """The interpreter with what ``peers/<environment>.txt`` lists; "" is the product's own.

    Made once, below ``folder``. Raises NotInstalled.
    """
    if not environment:
        return sys.executable
    wanted = REQUIREMENTS / f"{environment}.txt"
    digest = hashlib.sha256(wanted.read_bytes()).hexdigest()[:12]
    place = folder / "environments" / f"{environment}-{digest}"
    python = place / "bin" / "python"
    done = place / "complete"
    if not done.exists():
        print(f"installing {wanted.name}", file=sys.stderr)
        shutil.rmtree(place, ignore_errors=True)
        _uv("venv", "--quiet", "--python", sys.executable, str(place))
        _uv("pip", "install", "--quiet", "--python", str(python), "-r", str(wanted))
        # So that no first run pays for it.
        _run([str(python), "-m", "compileall", "-q", "-j", "0", str(place / "lib")], check=False)
        done.touch()
    return str(python)


def _uv(*arguments: str) -> None:
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.exists() else (shutil.which("uv") or "uv")
    links = os.environ.get("PIP_FIND_LINKS", "")
    where = ["--find-links", links] if links and "install" in arguments else []
    _run([uv, *arguments, *where], check=True)


def _run(command: list[str], check: bool) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NotInstalled(f"{command[0]}: {error.strerror}") from None
    if check and done.returncode:
        lines = done.stderr.strip().splitlines() or ["no word"]
        raise NotInstalled(lines[-1].strip()[:200])
