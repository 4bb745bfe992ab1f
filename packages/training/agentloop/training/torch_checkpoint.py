"""Checkpoints of a fit in the calling process: Ray Train's local mode keeps none by itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from agentloop.training.fits import State

CHECKPOINT = "checkpoint.pt"
SECONDS_BETWEEN = 5.0


def write_checkpoint(folder: Path, state: State) -> None:
    """Replace the checkpoint in ``folder`` at once: a kill leaves the last good one."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{CHECKPOINT}.{os.getpid()}"
    try:
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / CHECKPOINT)
    finally:
        partial.unlink(missing_ok=True)


def read_checkpoint(folder: Path) -> State | None:
    """The state in ``folder``, or None if there is none to go on from. Never unpickles code."""
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        state: State = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        return None  # a damaged checkpoint costs time, not the training
    return state if isinstance(state, dict) else None


class LocalSurroundings:
    """One process with checkpoints in ``folder``, at most one in ``SECONDS_BETWEEN`` and the
    last; ``clock`` gives seconds."""

    rank = 0
    world = 1
    threads = 0

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self._folder, self._clock = folder, clock
        self._saved_at = clock()

    def wrap(self, model: Any) -> Any:
        return model

    def mean(self, value: float) -> float:
        return value

    def save(self, state: State, metrics: dict[str, float], epoch: int, last: bool) -> None:
        if last or self._clock() - self._saved_at >= SECONDS_BETWEEN:
            write_checkpoint(self._folder, state)
            self._saved_at = self._clock()

    def restore(self) -> State | None:
        return read_checkpoint(self._folder)
