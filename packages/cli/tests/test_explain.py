"""The error worth telling is found inside those that libraries wrap around it."""

import errno
import itertools
import sqlite3
from pathlib import Path

import pytest

from agentloop.cli.explain import as_agentloop_error, full_disk, one_line
from agentloop.contracts import DiskFull, PortInUse, TrackingFailed


def chain(*errors):
    """The last of ``errors``, each raised from the one before it."""
    for before, error in itertools.pairwise(errors):
        error.__cause__ = before
    return errors[-1]


def full_sqlite():
    with sqlite3.connect(":memory:") as store:
        store.execute("pragma max_page_count = 1")
        with pytest.raises(sqlite3.OperationalError) as caught:
            store.execute("create table a (b)")
    return caught.value


FULL = OSError(errno.ENOSPC, "No space left on device", "/x/y")


def test_the_typed_error_is_found_below_and_above():
    inner = PortInUse("taken", port=8700)
    assert as_agentloop_error(chain(inner, RuntimeError("a"), ValueError("b"))) is inner
    assert as_agentloop_error(chain(OSError(5, "io"), inner)) is inner


def test_the_outermost_typed_error_wins():
    outer = TrackingFailed("no answer")
    assert as_agentloop_error(chain(PortInUse("taken"), outer)) is outer


@pytest.mark.parametrize("root", [FULL, full_sqlite(), DiskFull("/x", 5, 1)], ids=repr)
def test_a_full_disk_is_told_whatever_was_made_of_it(root):
    for error in (root, chain(root, RuntimeError("wrapped")), chain(root, TrackingFailed("down"))):
        found = as_agentloop_error(error)
        assert isinstance(found, DiskFull)
        assert found.exit_code == 82


def test_what_is_neither_is_left():
    assert as_agentloop_error(chain(OSError(5, "io"), ValueError("x"))) is None
    assert as_agentloop_error(sqlite3.OperationalError("database is locked")) is None


def test_a_circle_of_causes_ends():
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert as_agentloop_error(first) is None


def test_the_error_of_a_ray_worker_is_found():
    outer, inner = RuntimeError("RayTaskError"), PortInUse("taken")
    outer.cause = inner
    assert as_agentloop_error(outer) is inner


def test_a_folder_is_full_only_where_nothing_is_free(tmp_path):
    assert full_disk(tmp_path / "not" / "there") is None
    found = full_disk(Path("/proc/self/home"))  # a file system without space
    assert found is not None
    assert found.exit_code == 82


def test_an_unexpected_error_is_one_line():
    worker = RuntimeError("Traceback (most recent call last):\n  File ...")
    worker.cause = ValueError("first\nsecond")
    assert one_line(worker) == "ValueError: first"
    assert one_line(KeyError("x")) == "KeyError: 'x'"
    assert one_line(AssertionError()) == "AssertionError"
