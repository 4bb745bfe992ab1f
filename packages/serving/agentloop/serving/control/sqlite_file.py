"""One SQLite file that several processes share: how it is opened, and written to."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentloop.contracts.errors import DiskFull

BUSY_TIMEOUT_S = 10.0
# Between two times that a file which is kept open gets its log back: often enough that SQLite does
# not have a writer do it, which it does at a thousand pages.
WRITE_BACK_SECONDS = 5.0

log = logging.getLogger(__name__)


@contextmanager
def opened(path: Path, script: str = "") -> Iterator[sqlite3.Connection]:
    """A connection on which ``script`` (pragmas, tables) was run; the file is made if it is
    missing. Raises DiskFull."""
    db = _connect(path)
    try:
        if script:
            db.executescript(script)
        yield db
    except sqlite3.OperationalError as error:
        if "full" in str(error):
            raise DiskFull(str(path), 1, 0) from None
        raise
    finally:
        db.close()


def _connect(path: Path, one_thread: bool = True) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    return sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=one_thread
    )


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """A transaction that has the write lock from its start, so check-then-write is atomic."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


class KeptOpen:
    """A connection to ``path`` that only stays open, for a process that lives long.

    Whoever closes the last connection to a file writes its log back and waits for the disk: up to
    40 ms a write or a read were seen, where 0.2 ms are usual. While this one is open nobody closes
    the last. The log is written back by a thread here, which no writer waits for.
    """

    def __init__(self, path: Path, script: str) -> None:
        # Made here and used in the thread alone from then on.
        self._db = _connect(path, one_thread=False)
        self._db.executescript(script)
        self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()  # open it in earnest
        self._closing = threading.Event()
        self._thread = threading.Thread(
            target=self._write_back, name=f"open-{path.name}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """May be repeated."""
        self._closing.set()
        self._thread.join()

    def _write_back(self) -> None:
        while not self._closing.wait(WRITE_BACK_SECONDS):
            try:
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except sqlite3.Error as error:
                log.warning("SQLite's log was not written back: %s", error)
        self._db.close()
