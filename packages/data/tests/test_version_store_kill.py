"""Killed at any write, a retry ends with one whole version, accepted once.

Each process that is killed is a fork of this one, so that a kill costs no start of Python.
``AGENTLOOP_TEST_EVERY_WRITE=1`` kills at every write, not only at all of our own lines and at some
of DVC's.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dvc.repo  # noqa: F401  imported once, before the forks
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentloop.contracts import BatchValidation, ColumnSchema, DataProfile, DataSchema, Finding
from agentloop.data.arrow_checkout import checkout_version, holds
from agentloop.data.batch import TransformedBatch
from agentloop.data.files import staging_folder
from agentloop.data.sketch import summarise_numbers
from agentloop.data.version_store import VersionStore
from agentloop.lifecycle.arrow_dataset import ContentHasher, read_columns

# Python 3.12 warns of a fork beside threads; these forks use none of them.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

EVERY_WRITE = os.environ.get("AGENTLOOP_TEST_EVERY_WRITE") == "1"
SAMPLED_WRITES = 12
SCHEMA = DataSchema((ColumnSchema("key", "integer"),), "key")
FIRST, SECOND = list(range(300)), list(range(300, 700))
EVENTS = {
    "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "os.truncate", "os.chmod",
    "subprocess.Popen", "sqlite3.connect",
}  # fmt: skip
Point = tuple[str, int, str]  # file, line and event of a write


def batch_of(folder: Path, keys: list[int]) -> TransformedBatch:
    table = pa.table({"key": keys})
    for part, start in enumerate(range(0, len(keys), 150)):
        pq.write_table(table.slice(start, 150), folder / f"part-{part:05d}.parquet")
    hasher = ContentHasher(SCHEMA)
    hasher.update(table)
    digest = hasher.hexdigest()
    summaries = {"key": summarise_numbers(np.array(keys, float), 0)}
    return TransformedBatch("rows", SCHEMA, folder, digest, len(keys), 0, 0, {}, summaries)


def keep(data_dir: Path, keys: list[int]) -> str:
    store = VersionStore(data_dir, "demo")
    with staging_folder(store.staging, "x") as staging:
        batch = batch_of(staging, keys)
        profile = DataProfile(len(keys), ())
        return store.keep(batch, profile, "2026-01-01", batch_id=f"from {keys[0]}").version


def quarantine(data_dir: Path, keys: list[int]) -> Path:
    store = VersionStore(data_dir, "demo")
    reasons = BatchValidation(False, (Finding("range", "reject", "key", 1, "bad"),))
    with staging_folder(store.staging, "x") as staging:
        return store.quarantine(batch_of(staging, keys), reasons, "monday")


def place() -> tuple[str, int]:
    """The innermost line that is not the standard library's: ours or DVC's."""
    frame = sys._getframe(2)
    while frame.f_back and "/site-packages/" not in frame.f_code.co_filename:
        if "/agentloop/" in frame.f_code.co_filename:
            break
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def watch(at_write: Callable[[Point], None]) -> None:
    """Call ``at_write`` before every write of this process, from now on."""
    busy = False

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal busy
        opened = event == "open" and bool(
            set(args[1] or "") & set("wax+") or args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )
        if (opened or event in EVENTS) and not busy and str(args[0]) != os.devnull:
            busy = True
            at_write((*place(), event))
            busy = False

    sys.addaudithook(hook)


def in_a_fork(act: Callable[[], object], at_write: Callable[[Point], None]) -> int:
    """The exit code of a process that acts; negative if a signal ended it."""
    child = os.fork()
    if not child:
        code = 1
        try:
            watch(at_write)
            act()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(number: int) -> Callable[[Point], None]:
    seen = 0

    def at_write(_: Point) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return at_write


def writes_to_kill(act: Callable[[], object], log: Path) -> list[tuple[int, Point]]:
    """Numbers of writes, from 1: each of our lines, once, and some of DVC's in between."""

    def note(point: Point) -> None:
        with log.open("a") as file:
            file.write(f"{point[0]}\t{point[1]}\t{point[2]}\n")

    assert in_a_fork(act, note) == 0
    points = [
        (number, (file, int(line), event))
        for number, text in enumerate(log.read_text().splitlines(), 1)
        for file, line, event in [text.split("\t")]
    ]
    if EVERY_WRITE:
        return points
    ours: dict[Point, int] = {}
    for number, point in points:
        if "/agentloop/" in point[0]:
            ours.setdefault(point, number)
    theirs = [number for number, point in points if "/agentloop/" not in point[0]]
    sampled = theirs[:: max(1, len(theirs) // SAMPLED_WRITES)]
    chosen = {*ours.values(), *sampled}
    return [(number, point) for number, point in points if number in chosen]


def git(data_dir: Path, *arguments: str) -> list[str]:
    command = ["git", "-C", str(data_dir / "repo"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def check_whole(data_dir: Path, versions: dict[str, list[int]]) -> None:
    """By key, count and hash; in the versions folder, in the remote, in git and in the log."""
    store = VersionStore(data_dir, "demo")
    assert [accepted.version for accepted in store.log()] == list(versions)
    assert git(data_dir, "log", "--reverse", "--format=%s") == [f"demo {v}" for v in versions]
    assert git(data_dir, "rev-list", "--merges", "HEAD") == []
    assert sorted(git(data_dir, "tag")) == sorted(f"demo/{v}" for v in versions)
    assert git(data_dir, "status", "--porcelain") == []
    assert list(store.staging.iterdir()) == []
    for version, keys in versions.items():
        found = store.find(version)
        assert found is not None
        assert read_columns(found)["key"].tolist() == keys
    shutil.rmtree(data_dir / "versions" / "demo" / version)
    shutil.rmtree(data_dir / "repo" / ".dvc" / "cache")
    assert checkout_version(data_dir, "demo", version, data_dir / "out").origin == "dvc"


def check_nothing_half(data_dir: Path) -> None:
    """What can be seen after a kill, before any retry."""
    store = VersionStore(data_dir, "demo")
    for accepted in store.log():
        found = store.find(accepted.version)
        assert found is not None
        assert holds(Path(found.uri), found)
    for path in data_dir.glob("versions/demo/*/"):
        assert (path / "version.json").is_file()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data folder with one version."""
    data_dir = tmp_path_factory.mktemp("kept") / "data"
    return data_dir, keep(data_dir, FIRST)


def copies(original: Path | None, folder: Path) -> Iterator[Path]:
    """Data folders to try a kill in, one after the other, at the same place."""
    data_dir = folder / "data"
    while True:
        shutil.rmtree(data_dir, ignore_errors=True)
        if original:
            subprocess.run(["cp", "-a", str(original), str(data_dir)], check=True)
        yield data_dir


def test_a_first_version_survives_kills(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    points = writes_to_kill(lambda: keep(data_dir, FIRST), tmp_path / "points")
    assert len(points) > SAMPLED_WRITES
    for (number, point), fresh in zip(points, copies(None, tmp_path), strict=False):
        assert in_a_fork(lambda: keep(data_dir, FIRST), killed_at(number)) == -9, point
        check_nothing_half(fresh)
        check_whole(fresh, {keep(fresh, FIRST): FIRST})


def test_a_next_version_survives_kills(tmp_path: Path, kept: tuple[Path, str]) -> None:
    original, first = kept
    data_dir = next(copies(original, tmp_path))
    points = writes_to_kill(lambda: keep(data_dir, SECOND), tmp_path / "points")
    for (number, point), copy in zip(points, copies(original, tmp_path), strict=False):
        assert in_a_fork(lambda: keep(data_dir, SECOND), killed_at(number)) == -9, point
        check_nothing_half(copy)
        last = VersionStore(copy, "demo").last()
        assert last is not None
        check_whole(copy, {first: FIRST, keep(copy, SECOND): SECOND})


def test_a_quarantine_survives_kills(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    quarantine(data_dir, FIRST)
    points = writes_to_kill(lambda: quarantine(data_dir, SECOND), tmp_path / "points")
    for number, point in points:
        assert in_a_fork(lambda: quarantine(data_dir, SECOND), killed_at(number)) == -9, point
        folder = quarantine(data_dir, SECOND)
        parts = sorted(folder.glob("part-*.parquet"))
        assert [k for part in parts for k in pq.read_table(part)["key"].to_pylist()] == SECOND
        assert (folder / "reasons.json").is_file()
        assert list((data_dir / "staging").iterdir()) == []


@pytest.mark.parametrize("origin", ["versions", "dvc"])
def test_a_checkout_leaves_nothing_or_all(
    tmp_path: Path, kept: tuple[Path, str], origin: str
) -> None:
    original, version = kept
    folder, copy = tmp_path / "parent" / "out", tmp_path / "data"

    def act() -> None:
        assert checkout_version(copy, "demo", version, folder).files == 6

    def prepare() -> None:
        next(copies(original, tmp_path))
        shutil.rmtree(folder.parent, ignore_errors=True)
        if origin == "dvc":
            shutil.rmtree(copy / "versions" / "demo" / version)
            shutil.rmtree(copy / "repo" / ".dvc" / "cache")

    prepare()
    for number, point in writes_to_kill(act, tmp_path / "points"):
        prepare()
        assert in_a_fork(act, killed_at(number)) == -9, point
        assert not folder.exists()
        act()
        assert list(folder.parent.iterdir()) == [folder]


def test_the_lock_is_held_while_a_git_outlives_its_parent(tmp_path: Path) -> None:
    """git inherits the lock, so that nobody removes the index.lock of one that still writes."""
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text('#!/bin/sh\ncase "$*" in *commit*) sleep 1;; esac\nexec /usr/bin/git "$@"\n')
    slow.chmod(0o755)
    if not Path("/usr/bin/git").exists():
        pytest.skip("no git at /usr/bin")
    data_dir = tmp_path / "data"
    child = os.fork()
    if not child:
        os.environ["PATH"] = f"{slow.parent}:{os.environ['PATH']}"
        keep_until_commit(data_dir)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    check_whole(data_dir, {keep(data_dir, FIRST): FIRST})


def keep_until_commit(data_dir: Path) -> None:
    """Die as soon as git commits, and leave it to go on."""
    popen = subprocess.Popen

    class Dying(popen):  # type: ignore[type-arg,misc]
        def __init__(self, command: list[str], **options: Any) -> None:
            super().__init__(command, **options)
            if "commit" in command:
                os.kill(os.getpid(), signal.SIGKILL)

    subprocess.Popen = Dying  # type: ignore[misc,assignment]
    keep(data_dir, FIRST)
