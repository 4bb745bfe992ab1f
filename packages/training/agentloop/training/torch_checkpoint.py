"""Checkpoints of a fit: a folder with the last good ones, each replaced at once or not at all."""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from agentloop.contracts.errors import DiskFull
from agentloop.training.fits import State
from agentloop.training.live_journal import tell_epoch

CHECKPOINT = "checkpoint.pt"
KEPT = 2  # the newest, and the one before it for when the newest cannot be read
SECONDS_BETWEEN = 5.0
MB = 1 << 20
# No space, more than the quota, a larger file than is allowed.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class Found:
    """The newest state that can be read, if any, and the checkpoints that had to be passed over."""

    state: State | None
    damaged: tuple[str, ...]


def keep_checkpoint(folder: Path, state: State, epoch: int) -> Path:
    """Write ``state`` of ``epoch`` below ``folder``, then drop all but the newest ``KEPT``.

    A kill leaves the ones before. Raises DiskFull, OSError.
    """
    kept = folder / f"checkpoint_{epoch:06d}"
    write_checkpoint(kept, state)
    others = (path for path in _newest_first(folder) if path != kept)
    for old in list(others)[KEPT - 1 :]:
        shutil.rmtree(old, ignore_errors=True)
    return kept


def find_checkpoint(folder: Path) -> Found:
    """The newest readable checkpoint below ``folder``. Never unpickles code."""
    damaged: list[str] = []
    for path in _newest_first(folder):
        state = _read(path / CHECKPOINT)
        if state is not None:
            return Found(state, tuple(damaged))
        damaged.append(path.name)
    return Found(None, tuple(damaged))


def read_checkpoint(folder: Path) -> State | None:
    """The newest readable state below ``folder``, or None: a damaged one costs time, no more."""
    return find_checkpoint(folder).state


def write_checkpoint(folder: Path, state: State) -> None:
    """Replace the checkpoint in ``folder`` at once. Raises DiskFull, OSError."""
    buffer = io.BytesIO()
    torch.save(state, buffer)  # torch writing to a full disk itself does not say that it is full
    partial = folder / f".{CHECKPOINT}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / CHECKPOINT)
    except OSError as error:
        partial.unlink(missing_ok=True)
        if not (folder / CHECKPOINT).exists():
            shutil.rmtree(folder, ignore_errors=True)
        if error.errno in FULL:
            raise disk_full(folder, buffer.getbuffer().nbytes) from error
        raise


def disk_full(folder: Path, needed: int = 0) -> DiskFull:
    """That ``needed`` bytes do not fit on the disk of ``folder``."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(place).free // MB
    kept = "The checkpoint before this one was kept; training goes on from it."
    return DiskFull(str(place), needed // MB + 1, free, kept=kept)


def _newest_first(folder: Path) -> list[Path]:
    """By when they were written: an earlier attempt at another fit may have had more epochs."""

    def age(path: Path) -> tuple[int, str]:
        return path.stat().st_mtime_ns, path.name

    return sorted(folder.glob("checkpoint_[0-9]*"), key=age, reverse=True)


def _read(path: Path) -> State | None:
    try:
        state: State = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # whatever torch makes of a torn file
        return None
    return state if isinstance(state, dict) else None


class LocalSurroundings:
    """One process with checkpoints in ``folder``, at most one in ``SECONDS_BETWEEN`` and the
    last; ``clock`` gives seconds."""

    rank = 0
    world = 1
    rows: int | None = None

    def __init__(self, folder: Path, clock: Callable[[], float], threads: int = 0) -> None:
        self._folder, self._clock = folder, clock
        self._saved_at = clock()
        self.threads = threads

    def wrap(self, model: Any) -> Any:
        return model

    def mean(self, value: float) -> float:
        return value

    def save(self, state: State, metrics: dict[str, float], epoch: int, last: bool) -> None:
        tell_epoch(self._folder, metrics, epoch)
        if last or self._clock() - self._saved_at >= SECONDS_BETWEEN:
            keep_checkpoint(self._folder, state, epoch)
            self._saved_at = self._clock()

    def restore(self) -> State | None:
        return read_checkpoint(self._folder)
