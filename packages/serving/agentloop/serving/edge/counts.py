"""What the edge counted for each version, over reloads, deaths of HAProxy and of its keeper."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from agentloop.contracts.codec import canonical_json, from_dict, to_dict
from agentloop.serving.edge.guards import write_private
from agentloop.serving.edge.haproxy_stats import Counts, Key, parse_stats
from agentloop.serving.edge.plan import EdgePlan

COUNTS_FILE = "counts.json"


class EdgeCounts:
    """Counts of the running process on top of those of the processes before it, which are kept in
    ``folder``. ``command`` asks the admin socket.

    Counts never fall: while HAProxy is dead they are what was seen last, so a death costs what was
    counted since then.
    """

    def __init__(self, folder: Path, command: Callable[[str], str]) -> None:
        self._path = folder / COUNTS_FILE
        self._command = command
        self._earlier = _load(self._path)
        self._latest: dict[Key, Counts] = dict(self._earlier)

    def read(self, plan: EdgePlan) -> dict[Key, Counts]:
        """By (model, version) for every version of ``plan``."""
        try:
            current = parse_stats(self._command("show stat"), plan)
        except OSError:
            return self._latest
        self._latest = {
            key: found.plus(self._earlier.get(key, Counts())) for key, found in current.items()
        }
        return self._latest

    def carry(self, plan: EdgePlan | None) -> None:
        """Before a reload: what was counted under ``plan`` belongs to the past from now on."""
        self._earlier = dict(self.read(plan)) if plan is not None else dict(self._latest)
        rows = [[*key, to_dict(counts)] for key, counts in sorted(self._earlier.items())]
        write_private(self._path, canonical_json(rows).encode())


def _load(path: Path) -> dict[Key, Counts]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {(model, version): from_dict(Counts, counts) for model, version, counts in rows}
