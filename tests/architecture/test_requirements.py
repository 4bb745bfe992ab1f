"""The lock, the wheel's dependencies and requirements.in agree."""

import re
import tomllib
from pathlib import Path

RUNTIME, DEVELOPMENT = "# Runtime", "# Development"


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def name(requirement: str) -> str:
    return re.sub(r"[._]", "-", re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower())


def test_the_wheel_asks_for_the_runtime_half():
    runtime = Path("requirements.in").read_text().split(DEVELOPMENT)[0]
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert sorted(lines(runtime)) == sorted(project["dependencies"])


def test_the_lock_has_everything_asked_for():
    locked = {name(line) for line in lines(Path("requirements.lock").read_text())}
    asked = {name(line) for line in lines(Path("requirements.in").read_text())}
    assert asked <= locked, "next: tools/env/lock"


def test_the_lock_is_for_every_machine():
    lock = lines(Path("requirements.lock").read_text())
    excluded = set(lines(Path("tools/env/lock-excludes.txt").read_text()))
    assert not excluded & {name(line) for line in lock}
    odd = [line for line in lock if re.match(r"nvidia-|cuda-|triton", line) or "://" in line]
    odd += [line for line in lock if "+" in line.split(";")[0]]
    assert not odd, "a GPU machine's packages, a local build or an address is in the lock"
