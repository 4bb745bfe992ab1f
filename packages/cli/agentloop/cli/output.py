"""stdout is the result, stderr is the diagnosis."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def keep_stdout_for_the_result(debug: bool) -> Iterator[TextIO]:
    """Yield the real stdout, and send whatever libraries print, from Python or below, to stderr.

    Without ``debug`` Python's warnings, and the tracebacks that MLflow logs, are silenced too.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    if not debug:
        import warnings

        warnings.simplefilter("ignore")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
    with os.fdopen(kept, "w", encoding="utf-8", closefd=True) as result:
        try:
            yield result
        finally:
            sys.stdout.flush()
            _flush(result)


def reader_left(result: TextIO) -> bool:
    """Whether nobody reads the result any more, as after ``agentloop status | head -1``."""
    try:
        result.flush()
    except BrokenPipeError:
        return True
    return False


def _flush(result: TextIO) -> None:
    try:
        result.flush()
    except BrokenPipeError:  # the reader left; what is still buffered has nowhere to go
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), result.fileno())
