"""Find the error worth telling inside the ones that libraries wrap around it."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from agentloop.contracts import AgentLoopError, DiskFull

_FULL = {errno.ENOSPC, errno.EDQUOT}


def as_agentloop_error(error: BaseException | None) -> AgentLoopError | None:
    """The first typed error in a chain of causes; a full disk anywhere in it is DiskFull; None if
    there is neither."""
    known: AgentLoopError | None = None
    for cause in _causes(error):
        if isinstance(cause, DiskFull):
            return cause
        if (where := _full_disk(cause)) is not None:
            return DiskFull(where, 1, 0, kept=_KEPT)
        if known is None and isinstance(cause, AgentLoopError):
            known = cause
    return known


def full_disk(home: Path) -> DiskFull | None:
    """DiskFull if nothing more can be written to ``home``: then libraries fail in odd ways."""
    folder = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    return DiskFull(str(home), 1, 0, kept=_KEPT) if free < _MB else None


def one_line(error: BaseException) -> str:
    """An unexpected error's class and first line; of a Ray worker's error the worker's own, for
    Ray's text is a traceback."""
    inner = getattr(error, "cause", None)
    root = inner if isinstance(inner, BaseException) else error
    first = next(iter(str(root).strip().splitlines()), "")
    return f"{type(root).__name__}: {first}" if first else type(root).__name__


_MB = 1_000_000
_KEPT = "Every stage that was recorded before is kept."


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = getattr(error, "cause", None)  # Ray keeps the worker's error there
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__


def _full_disk(error: BaseException) -> str | None:
    """What is full, if that is what ``error`` says."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return str(error.filename or "The disk")
    code = getattr(error, "sqlite_errorcode", 0) if isinstance(error, sqlite3.Error) else 0
    return "The disk" if code & 0xFF == sqlite3.SQLITE_FULL else None
