"""What a training tells while it goes on: lines appended to files, which a tracker reads.

A fit, in whichever process, only appends a line, so that no tracking store can hold it up; a store
that comes back finds every line still there.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

EPOCHS, SYSTEM = "epochs.jsonl", "system"


@dataclass(frozen=True, slots=True)
class Told:
    """One value: ``at`` in milliseconds since 1970, ``step`` the epoch (from 1) or the sample."""

    name: str
    value: float
    at: int
    step: int


def tell(path: Path, values: Mapping[str, float], step: int) -> None:
    """Append one line. A disk that is full loses the line, not the training."""
    row = {"at": int(time.time() * 1000), "step": step, "values": dict(values)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    except OSError:
        return


def tell_epoch(folder: Path, metrics: Mapping[str, float], epoch: int) -> None:
    """Losses of one epoch (from 1) of the fit whose state is in ``folder``."""
    tell(folder / EPOCHS, metrics, epoch)


@dataclass
class Journal:
    """Reads, each once, the lines of all files under ``root`` that are of the run ``run_id``."""

    root: Path
    run_id: str
    _offsets: dict[Path, int] = field(default_factory=dict, init=False)
    _seen: set[tuple[str, int]] = field(default_factory=set, init=False)

    @property
    def system(self) -> Path:
        """Where the machine's figures of this run go."""
        return self.root / SYSTEM / f"{self.run_id}.jsonl"

    def read(self) -> list[Told]:
        """Values that were told since; of one name and step the first."""
        found: list[Told] = []
        for path in sorted(self.root.rglob(EPOCHS)):
            found += self._new(path, _prefix(path.parent.relative_to(self.root)))
        return found + self._new(self.system, "system/")

    def knows(self, name: str, step: int) -> bool:
        return (name, step) in self._seen

    def _new(self, path: Path, prefix: str) -> list[Told]:
        try:
            with path.open("rb") as file:
                file.seek(self._offsets.get(path, 0))
                text = file.read()
        except OSError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._offsets[path] = self._offsets.get(path, 0) + len(whole)
        rows = [told for line in whole.splitlines() for told in _rows(line, prefix)]
        fresh = []
        for told in rows:
            if (told.name, told.step) not in self._seen:
                self._seen.add((told.name, told.step))
                fresh.append(told)
        return fresh


def _prefix(folder: Path) -> str:
    """``epoch_`` for the one fit, ``member_3/epoch_`` for one of several."""
    number = folder.name if folder.parent.name == "members" else ""
    return f"member_{number}/epoch_" if number else "epoch_"


def _rows(line: bytes, prefix: str) -> list[Told]:
    try:
        row = json.loads(line)
        return [
            Told(f"{prefix}{name}", float(value), int(row["at"]), int(row["step"]))
            for name, value in row["values"].items()
            if math.isfinite(value)
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []  # a kill left half of the line
