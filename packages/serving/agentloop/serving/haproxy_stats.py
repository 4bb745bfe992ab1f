"""HAProxy's ``show stat`` to counts a version: a pure parse."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

from agentloop.contracts.traffic import VersionTraffic
from agentloop.serving.edge_plan import EdgePlan


@dataclass(frozen=True, slots=True)
class Counts:
    """One version since its process started. ``rescued`` calls failed here and were asked again
    of another version; they are among the errors."""

    requests: int = 0
    errors: int = 0
    rescued: int = 0
    ready: bool = False
    mean_ms: float | None = None

    def plus(self, earlier: Counts) -> Counts:
        """These counts on top of those of an earlier process."""
        return Counts(
            self.requests + earlier.requests,
            self.errors + earlier.errors,
            self.rescued + earlier.rescued,
            self.ready,
            self.mean_ms if self.mean_ms is not None else earlier.mean_ms,
        )


Key = tuple[str, str]


def parse_stats(text: str, plan: EdgePlan) -> dict[Key, Counts]:
    """Counts by (model, version) for every version of ``plan``."""
    rows = {
        (row["# pxname"], row["svname"]): row for row in csv.DictReader(io.StringIO(text.strip()))
    }
    return {
        (model.model, version.version): _counts(rows, model.model, version.version, version.app)
        for model in plan.models
        for version in model.versions
    }


def as_traffic(plan: EdgePlan, model: str, counts: Mapping[Key, Counts]) -> list[VersionTraffic]:
    """The versions of ``model`` as the rest of the loop reads them; weights in percent."""
    route = next((m for m in plan.models if m.model == model), None)
    versions = route.versions if route else ()
    total = sum(version.weight for version in versions)
    return [
        VersionTraffic(
            version.version,
            100.0 * version.weight / total if total else 0.0,
            found.requests,
            found.errors,
            found.rescued,
            found.ready,
            found.mean_ms,
        )
        for version in versions
        for found in (counts.get((model, version.version), Counts()),)
    ]


def _counts(rows: Mapping[Key, Mapping[str, str]], model: str, version: str, app: str) -> Counts:
    entry = rows.get((f"version.{app}", "FRONTEND"), {})
    server = rows.get((f"version.{app}", "app"), {})
    retries = sum(
        _number(rows.get((f"{kind}.{model}", version), {}), "wretr") for kind in ("model", "sticky")
    )
    requests = _number(entry, "req_tot")
    return Counts(
        requests=requests,
        errors=_number(entry, "hrsp_5xx"),
        rescued=retries,
        ready=server.get("status", "").startswith("UP"),
        mean_ms=float(_number(server, "ttime")) if requests else None,
    )


def _number(row: Mapping[str, str], column: str) -> int:
    return int(row.get(column) or 0)
