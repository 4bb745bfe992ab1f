"""Find the error worth telling inside the ones that libraries wrap around it."""

from __future__ import annotations

import errno

from agentloop.contracts import AgentLoopError, DiskFull


def as_agentloop_error(error: BaseException | None) -> AgentLoopError | None:
    """The typed error in a chain of causes; a full disk becomes DiskFull; None if neither."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, AgentLoopError):
            return error
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return DiskFull(str(error.filename or "the disk"), 1, 0)
        inner = getattr(error, "cause", None)  # Ray keeps the worker's error there
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
    return None
