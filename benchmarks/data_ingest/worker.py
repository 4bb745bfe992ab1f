"""The measured side of a run: a process that says where its work begins and ends.

It writes JSON lines to what was its stdout and waits for an answer to each, so that whoever
measures does it exactly there. Standard library alone: every environment imports this file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO


@dataclass
class Job:
    """CSV files in ``source``; ``work`` is an empty folder; ``option`` picks a variant.
    ``stages`` collects the seconds of each."""

    source: Path
    work: Path
    option: str
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def files(self) -> list[Path]:
        return sorted(self.source.glob("*.csv"))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.stages[name] = round(time.monotonic() - began, 3)


def serve(
    run: Callable[[Job], dict[str, Any]], prepare: Callable[[Job], None] | None = None
) -> int:
    """Do one job. ``prepare`` is not measured, nor are imports at the top of the script."""
    job, answers = _job(), _own_stdout()
    try:
        if prepare is not None:
            prepare(job)
        _say(answers, mark="begin")
        began = time.monotonic()
        result = run(job)
        seconds = time.monotonic() - began
        _say(answers, mark="end", seconds=seconds, stages=job.stages, result=result)
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        _say(answers, mark="failed", error=f"{type(error).__name__}: {first}"[:300])
        raise
    return 0


def _job() -> Job:
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("option", nargs="?", default="")
    options = parser.parse_args()
    return Job(options.source, options.work, options.option)


def _own_stdout() -> TextIO:
    """A copy of stdout; what libraries print goes to stderr from now on."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _say(answers: TextIO, **values: Any) -> None:
    print(json.dumps(values, default=str), file=answers, flush=True)
    if not sys.stdin.readline():
        raise SystemExit("whoever measures is gone")
