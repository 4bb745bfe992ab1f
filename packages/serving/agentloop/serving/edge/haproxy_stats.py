"""HAProxy's ``show stat`` to counts a version: a pure parse.

A failed call is asked once more of another version. That second call must count for nothing: a
request that no version can answer would otherwise be an error of the canary however small its
weight, and be taken for its own. ``wretr`` of a server counts the first tries that failed there
and were asked again, ``stot`` all calls, and a server's ``hrsp_5xx`` only what went back to the
client: second tries, and first tries that could not be asked again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from agentloop.contracts.traffic import VersionTraffic
from agentloop.serving.edge.plan import EdgePlan, ModelRoute, VersionRoute


@dataclass(frozen=True, slots=True)
class Counts:
    """One version since its process started. ``requests`` and ``errors`` are of first tries;
    ``rescued`` of the errors were asked again of another version. ``dealt`` calls came in turn
    (second tries too, sessions not), and ``dealt_errors`` of them failed at the first try."""

    requests: int = 0
    errors: int = 0
    rescued: int = 0
    ready: bool = False
    mean_ms: float | None = None
    dealt: int = 0
    dealt_errors: int = 0

    def plus(self, earlier: Counts) -> Counts:
        """These counts on top of those of an earlier process."""
        return Counts(
            self.requests + earlier.requests,
            self.errors + earlier.errors,
            self.rescued + earlier.rescued,
            self.ready,
            self.mean_ms if self.mean_ms is not None else earlier.mean_ms,
            self.dealt + earlier.dealt,
            self.dealt_errors + earlier.dealt_errors,
        )


Key = tuple[str, str]


def parse_stats(text: str, plan: EdgePlan) -> dict[Key, Counts]:
    """Counts by (model, version) for every version of ``plan``."""
    rows = {
        (row["# pxname"], row["svname"]): row for row in csv.DictReader(io.StringIO(text.strip()))
    }
    return {
        (model.model, version.version): _counts(rows, model, version)
        for model in plan.models
        for version in model.versions
    }


def as_traffic(plan: EdgePlan, model: str, counts: Mapping[Key, Counts]) -> list[VersionTraffic]:
    """The versions of ``model`` as the rest of the loop reads them; weights in percent."""
    route = next((m for m in plan.models if m.model == model), None)
    versions = route.versions if route else ()
    total = sum(version.percent for version in versions)
    return [
        VersionTraffic(
            version.version,
            100.0 * version.percent / total if total else 0.0,
            found.requests,
            found.errors,
            found.rescued,
            found.ready,
            found.mean_ms,
            found.dealt,
            found.dealt_errors,
        )
        for version in versions
        for found in (counts.get((model, version.version), Counts()),)
    ]


def _counts(
    rows: Mapping[Key, Mapping[str, str]], model: ModelRoute, version: VersionRoute
) -> Counts:
    entry = rows.get((f"version.{version.app}", "FRONTEND"), {})
    server = rows.get((f"version.{version.app}", "app"), {})
    others = [v.version for v in model.versions if v.version != version.version]
    in_turn, by_session = (
        _server(rows, f"{kind}.{model.model}", version.version, others)
        for kind in ("model", "sticky")
    )
    attempts = _number(entry, "req_tot")
    return Counts(
        requests=max(0, attempts - in_turn.received - by_session.received),
        errors=in_turn.errors + by_session.errors,
        rescued=in_turn.retried + by_session.retried,
        ready=server.get("status", "").startswith("UP"),
        mean_ms=float(_number(server, "ttime")) if attempts else None,
        dealt=in_turn.calls,
        dealt_errors=in_turn.errors,
    )


class _Server(NamedTuple):
    """A version in one backend: all calls, first tries that failed, those of them that were asked
    again, and second tries that it took over from others."""

    calls: int
    errors: int
    retried: int
    received: int


def _server(
    rows: Mapping[Key, Mapping[str, str]], backend: str, version: str, others: Sequence[str]
) -> _Server:
    row = rows.get((backend, version), {})
    received = sum(_number(rows.get((backend, other), {}), "wretr") for other in others)
    retried = _number(row, "wretr")
    # Which of the answers with a 5xx were first tries is not told: at least these.
    unretried = max(0, _number(row, "hrsp_5xx") - received)
    return _Server(_number(row, "stot"), retried + unretried, retried, received)


def _number(row: Mapping[str, str], column: str) -> int:
    return int(row.get(column) or 0)
