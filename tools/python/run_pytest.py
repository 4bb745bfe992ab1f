"""Runs pytest for one Bazel target: run_pytest.py TEST... -- [PYTEST ARGUMENT...].

Standard library and pytest only: this runs before the tests' own imports are in order.
"""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NO_TESTS_COLLECTED = 5


def own_imports_only(checkout: Path) -> None:
    """Drops the checkout's packages, so that an import which deps does not declare fails."""
    packages = checkout / "packages"
    sys.path[:] = [entry for entry in sys.path if Path(entry).parent != packages]


def set_up_environment(scratch: Path, checkout: Path) -> None:
    """Gives the tests a home and a temporary folder of their own.

    Bazel's own temporary folder has a path too long for the unix sockets that Ray opens in it
    (at most 107 characters).
    """
    for name, folder in {"HOME": "home", "TMPDIR": "t"}.items():
        (scratch / folder).mkdir()
        os.environ[name] = str(scratch / folder)
    os.environ.setdefault("LANG", "C.UTF-8")
    shared = checkout.parent / "shared"
    if shared.is_dir():
        os.environ.setdefault("AGENTLOOP_SHARED", str(shared))
    os.environ["RAY_TMPDIR"] = str(scratch / "t")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


def pytest_arguments(tests: list[str], extra: list[str], scratch: Path) -> list[str]:
    """What Bazel tells a test by environment variables, as arguments of pytest."""
    arguments = [*tests, "--rootdir=.", "-p", "no:cacheprovider", f"--basetemp={scratch / 'p'}"]
    if report := os.environ.get("XML_OUTPUT_FILE"):
        arguments.append(f"--junitxml={report}")
    if expression := os.environ.get("TESTBRIDGE_TEST_ONLY"):
        arguments += ["-k", expression]
    return arguments + extra


def processes_of(scratch: Path) -> list[int]:
    """The processes that have the tests' temporary folder in their environment."""
    mark = os.fsencode(f"TMPDIR={scratch}/")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_bytes():
                found.append(int(process.name))
    return [pid for pid in found if pid != os.getpid()]


def end_processes_of(scratch: Path) -> None:
    """Kills what the tests left running, and waits until it writes no more files."""
    if ray := sys.modules.get("ray"):
        ray.shutdown()  # at exit it would make its folder anew
    deadline = time.monotonic() + 5
    while (left := processes_of(scratch)) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


class OutOfTime:
    """Bazel ends a target that is out of time with SIGTERM: the test at hand fails by name."""

    def pytest_sessionstart(self, session: Any) -> None:
        """Has the session tidy up and write its report instead of dying where it stands."""
        import pytest

        def stop(*_: object) -> None:
            session.shouldstop = "out of time"
            pytest.fail("the target is out of time (its size sets the limit)")

        signal.signal(signal.SIGTERM, stop)


def main(argv: list[str]) -> int:
    """Runs the tests named before `--` and returns their exit status."""
    split = argv.index("--")
    checkout = Path(os.environ["AGENTLOOP_CHECKOUT"])
    own_imports_only(checkout)
    scratch = Path(tempfile.mkdtemp(prefix="al-", dir="/tmp"))
    try:
        set_up_environment(scratch, checkout)
        tempfile.tempdir = None
        import pytest

        arguments = pytest_arguments(argv[:split], argv[split + 1 :], scratch)
        code = int(pytest.main(arguments, plugins=[OutOfTime()]))
    finally:
        end_processes_of(scratch)
        shutil.rmtree(scratch, ignore_errors=True)
    filtered = "TESTBRIDGE_TEST_ONLY" in os.environ
    return 0 if code == NO_TESTS_COLLECTED and filtered else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
