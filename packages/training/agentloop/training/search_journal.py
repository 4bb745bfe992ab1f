"""What a search has done so far, so that one that was cut off loses no trial and repeats none."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from agentloop.contracts.codec import canonical_json, from_dict, to_dict
from agentloop.training.search_space import SearchPlan, Trial

JOURNAL = "journal.jsonl"


class SearchJournal:
    """One line a trial that ended, in the order they did; the first line names the search."""

    def __init__(self, folder: Path, plan: SearchPlan, data: str) -> None:
        """``data`` tells rows and folds from others. A journal of another search is begun anew."""
        self._path = folder / JOURNAL
        self._name = _name_of(plan, data)
        self._known = self._read()
        folder.mkdir(parents=True, exist_ok=True)
        if not self._known:
            self._write(canonical_json({"search": self._name}), "w")

    @property
    def trials(self) -> dict[int, Trial]:
        """Those that ended, by number, in the order they did."""
        return {number: trial for number, trial, _ in self._known}

    @property
    def seconds(self) -> float:
        """How long the search has taken so far."""
        return max((seconds for _, _, seconds in self._known), default=0.0)

    def add(self, number: int, trial: Trial, seconds: float) -> None:
        """On disk when this returns. ``seconds`` are those of the whole search."""
        self._known.append((number, trial, seconds))
        line = {"number": number, "seconds": round(seconds, 3), "trial": to_dict(trial)}
        self._write(canonical_json(line), "a")

    def _write(self, line: str, mode: str) -> None:
        with self._path.open(mode, encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> list[tuple[int, Trial, float]]:
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return []
        parsed = [_parsed(line) for line in lines]
        if not parsed or parsed[0] is None or parsed[0].get("search") != self._name:
            return []
        found: dict[int, tuple[int, Trial, float]] = {}
        for entry in parsed[1:]:
            if entry is not None and "trial" in entry:
                number = int(entry["number"])
                trial = from_dict(Trial, entry["trial"])
                found.setdefault(number, (number, trial, float(entry["seconds"])))
        return list(found.values())


def _parsed(line: str) -> dict[str, Any] | None:
    """None for a line that a kill cut short."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _name_of(plan: SearchPlan, data: str) -> str:
    requests = {name: request.fingerprint for name, request in plan.requests.items()}
    spaces = {
        name: {key: searched.model_dump(mode="json") for key, searched in space.items()}
        for name, space in plan.spaces.items()
    }
    first = [to_dict(draw) for draw in plan.first]
    text = canonical_json([requests, spaces, first, plan.seed, data])
    return hashlib.sha256(text.encode()).hexdigest()
