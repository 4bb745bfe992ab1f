"""Kills under load: what clients saw, and when all was well again."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import automatic
from clients import CONNECTIONS, Clients, Seen
from served import Served, kill, wait_for
from targets import Target, at_most

Rows = list[dict[str, Any]]
BEFORE_S, AFTER_S, HEAL_S = 1.0, 4.0, 40.0
BACK_S, STABLE_S = 2.0, 10.0
# A rollout that stays at half of the traffic until it is killed.
HALF = {
    "steps": [50, 100],
    "step_seconds": 600,
    "max_wait_seconds": 600,
    "probe": False,
}


@dataclass(frozen=True, slots=True)
class Kill:
    """``strike`` kills and says when; ``healed`` says that the next kill may come."""

    title: str
    strike: Callable[[Served], float]
    healed: Callable[[Served], bool]
    may_fail: int = 0


def run(quick: bool) -> tuple[Rows, list[Target]]:
    """Rows and targets."""
    rows: Rows = []
    targets: list[Target] = []
    with Served("--versions", "2", "--serve", "2", "--serving", '{"replicas": 2}') as served:
        for one in KILLS[:1] + KILLS[-1:] if quick else KILLS:
            served.order("split", percents={"0": 50.0, "1": 50.0}, stable=0)
            take(rows, targets, *strike(served, one))
        served.order("settle", number=0)
        take(rows, targets, *controller_dies(served))
    more, wanted = automatic.run(quick)
    return rows + more, targets + wanted


def take(rows: Rows, targets: list[Target], row: dict[str, Any], wanted: list[Target]) -> None:
    print("  ".join(f"{k} {v}" for k, v in row.items()), file=sys.stderr, flush=True)
    rows.append(row)
    targets += wanted


def strike(served: Served, one: Kill) -> tuple[dict[str, Any], list[Target]]:
    """One kill at half of the traffic each."""
    with Clients(served.infer, served.bodies) as clients:
        time.sleep(BEFORE_S)
        moment = one.strike(served)
        time.sleep(AFTER_S)
        healed = wait_for(lambda: one.healed(served), HEAL_S, 0.1)
        whole = None if healed is None else time.monotonic() - moment
        time.sleep(BEFORE_S)
    seen = clients.seen
    failed, gap = seen.failed + seen.bad, seen.gap_after(moment)
    row = kill_row(one.title, seen, gap, whole)
    names = f"chaos: {one.title}"
    return row, [
        at_most(f"{names}: failed requests", failed, one.may_fail, ""),
        at_most(f"{names}: service back", gap, BACK_S, "s"),
    ]


def controller_dies(served: Served) -> tuple[dict[str, Any], list[Target]]:
    """The process that runs a rollout is killed while its version has half of the traffic."""
    title, green = "loop controller killed at 50%", served.versions[1]
    with Clients(served.infer, served.bodies) as clients:
        controller = served.controller(1, HALF)
        reached = wait_for(lambda: served.split.weights.get(green, 0) == 50, HEAL_S, 0.05)
        if reached is None:
            raise RuntimeError("the rollout that should be killed never had half of the traffic")
        time.sleep(BEFORE_S)
        moment = kill(controller.own_pids)
        restored = wait_for(lambda: served.weight(1) == 0, 2 * STABLE_S)
        time.sleep(BEFORE_S)
    seen = clients.seen
    failed, gap = seen.failed + seen.bad, seen.gap_after(moment)
    row = kill_row(title, seen, gap, restored)
    seconds = float("inf") if restored is None else restored
    return row, [
        at_most(f"chaos: {title}: failed requests", failed, 0, ""),
        at_most(f"chaos: {title}: stable weights restored", seconds, STABLE_S, "s"),
    ]


def kill_row(title: str, seen: Seen, gap: float, whole: float | None) -> dict[str, Any]:
    return {
        "killed_under_load": title,
        "requests": seen.total,
        "failed": seen.failed + seen.bad,
        "trouble": seen.trouble,
        "service_back_s": round(gap, 2) if math.isfinite(gap) else None,
        "all_as_before_s": None if whole is None else round(whole, 1),
    }


def _both_replicas(served: Served) -> bool:
    return served.is_up(1) and len(served.replicas(1)) == 2


KILLS = (
    Kill("one of two green replicas", lambda s: kill(s.replicas(1)[:1]), _both_replicas),
    Kill("all green replicas", lambda s: kill(s.replicas(1)), _both_replicas),
    Kill(
        "Serve's controller",
        lambda s: kill(s.pids("ray::ServeController")),
        lambda s: bool(s.pids("ray::ServeController")),
    ),
    Kill(
        "the edge's actor",
        lambda s: kill(s.pids("ray::EdgeActor")),
        lambda s: bool(s.pids("ray::EdgeActor")),
    ),
    Kill(
        "HAProxy",
        lambda s: kill([s.haproxy] if s.haproxy else []),
        lambda s: s.haproxy is not None and s.is_up(0) and s.is_up(1),
        CONNECTIONS,
    ),
)
