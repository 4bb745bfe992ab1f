"""The lock, the wheel's dependencies and requirements.in agree."""

import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

RUNTIME, DEVELOPMENT = "# Runtime", "# Development"


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def name(requirement: str) -> str:
    return re.sub(r"[._]", "-", re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower())


# Reads every distribution's list of files: once is enough.
distributions = cache(packages_distributions)


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


def test_what_is_imported_is_asked_for(module):
    asked = {name(line) for line in lines(Path("requirements.in").read_text())}
    providers = distributions()
    for found in module.imports():
        top = found.name.split(".")[0]
        if top != "agentloop" and top not in sys.stdlib_module_names:
            known = {name(provider) for provider in providers.get(top, [])}
            assert known & asked, f"{module.path}:{found.line}: {top} is not in requirements.in"
