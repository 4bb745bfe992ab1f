"""The best draws of a model's earlier searches, which a later one may try first."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from agentloop.contracts.codec import canonical_json, from_dict, to_dict
from agentloop.training.search_space import (
    Draw,
    SearchResult,
    Space,
    Trial,
    is_inside,
    validated,
)

KEPT, TRIED = 5, 5
STUDIES = "studies"


def remember(home: Path, model: str, data_version: str, result: SearchResult) -> None:
    """Add the best ``KEPT`` finished trials, one line each; the same search adds nothing twice."""
    path = home / STUDIES / f"{model}.jsonl"
    finished = sorted((t for t in result.trials if t.finished), key=lambda t: t.loss or 0.0)
    lines = [
        canonical_json({"data": data_version, "loss": t.loss, "draw": to_dict(_draw(t))})
        for t in finished[:KEPT]
    ]
    known = _lines(path)
    fresh = [line for line in lines if line not in known]
    if not fresh:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in fresh))
        file.flush()
        os.fsync(file.fileno())


def best_draws(home: Path, model: str, spaces: Mapping[str, Space]) -> tuple[Draw, ...]:
    """Up to ``TRIED`` different draws that the spaces hold, those of the latest searches first.

    Their old losses are of other rows, so they only tell what to try, never what is best.
    """
    found: list[Draw] = []
    for line in reversed(_lines(home / STUDIES / f"{model}.jsonl")):
        try:
            draw = from_dict(Draw, json.loads(line)["draw"])
        except (ValueError, KeyError, TypeError):
            continue  # a line that a kill cut short
        if draw.family not in spaces or not is_inside(spaces[draw.family], draw.parameters):
            continue
        values = validated({name: draw.parameters[name] for name in spaces[draw.family]})
        fresh = Draw(draw.family, values)
        if fresh not in found:
            found.append(fresh)
    return tuple(found[:TRIED])


def _draw(trial: Trial) -> Draw:
    return Draw(trial.family, dict(trial.parameters))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
