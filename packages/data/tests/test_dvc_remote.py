"""DVC's errors in plain words."""

from __future__ import annotations

import errno
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from agentloop.contracts import DiskFull, VersioningFailed
from agentloop.data.dvc_remote import told
from agentloop.data.files import write_errors_told


def counted() -> None:
    """As DVC does: it logs what went wrong, and raises how often."""
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError as error:
        logging.getLogger("dvc_objects.fs.generic").exception("failed to transfer")
        from dvc.exceptions import UploadError

        raise UploadError(1) from error


def sqlite_full() -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise error


@pytest.mark.parametrize("run", [counted, sqlite_full])
def test_a_full_disk_is_told_whatever_dvc_makes_of_it(
    run: Callable[[], None], tmp_path: Path
) -> None:
    with pytest.raises(DiskFull), write_errors_told(tmp_path):
        told(run)


def test_other_errors_of_dvc_are_told_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    def run() -> None:
        from dvc.exceptions import DvcException

        logging.getLogger("dvc").warning("a hint")
        raise DvcException("first line.\nsecond line")

    with pytest.raises(VersioningFailed, match="DVC: first line") as caught:
        told(run)
    assert caught.value.reason == "DVC: first line"
    assert capfd.readouterr() == ("", "")


def test_an_error_that_causes_itself_ends(tmp_path: Path) -> None:
    first, second = ValueError(), OSError()
    first.__cause__, second.__cause__ = second, first
    with pytest.raises(ValueError), write_errors_told(tmp_path):
        raise first
