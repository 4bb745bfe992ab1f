"""One SQLite file that several processes share: how it is opened, and written to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentloop.contracts.errors import DiskFull

BUSY_TIMEOUT_S = 10.0


@contextmanager
def opened(path: Path, script: str) -> Iterator[sqlite3.Connection]:
    """A connection on which ``script`` (pragmas, tables) was run; the file is made if it is
    missing. Raises DiskFull."""
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        db.executescript(script)
        yield db
    except sqlite3.OperationalError as error:
        if "full" in str(error):
            raise DiskFull(str(path), 1, 0) from None
        raise
    finally:
        db.close()


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
