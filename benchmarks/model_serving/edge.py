"""The edge on real traffic: weights, shares, sessions, and moves of all traffic."""

from __future__ import annotations

import math
import statistics
import sys
import time
from itertools import pairwise
from typing import Any

from clients import Clients
from served import Served
from targets import Target, at_least, at_most

Rows = list[dict[str, Any]]
# Two-sided 99.9% of a normal, which a binomial of this many draws is to three digits.
Z = 3.2905
SETTLE_S = 0.3
STEPS = (1.0, 5.0, 10.0, 25.0, 50.0, 100.0)


def run(quick: bool) -> tuple[Rows, list[Target]]:
    """Rows and targets."""
    requests = 10_000 if quick else 100_000
    rows: Rows = []
    targets: list[Target] = []
    with Served("--versions", "2", "--serve", "2") as served:
        for part in (
            lambda: weight_changes(served, 10 if quick else 40),
            lambda: shares(served, requests),
            lambda: sessions(served, 500 if quick else 4000),
            lambda: moves(served, requests),
        ):
            row, wanted = part()
            print("  ".join(f"{k} {v}" for k, v in row.items()), file=sys.stderr, flush=True)
            rows.append(row)
            targets += wanted
    return rows, targets


def weight_changes(served: Served, changes: int) -> tuple[dict[str, Any], list[Target]]:
    """From a controller's write to the first answer by the new version, under load."""
    took = []
    with Clients(served.infer, served.bodies) as clients:
        clients.until(200)
        for number in range(changes):
            new = (number + 1) % 2
            clients.forget()
            told = served.order("split", percents={str(new): 100.0}, stable=0)
            time.sleep(SETTLE_S)
            took.append((clients.seen.first_of[served.versions[new]] - told["began"]) * 1000)
    median, slowest = statistics.median(took), max(took)
    row = {
        "edge": "a weight changes under load",
        "requests": clients.seen.total,
        "failed": clients.seen.failed + clients.seen.bad,
        "trouble": clients.seen.trouble,
        "measured": f"{median:.1f} ms to the first answer, slowest of {changes} {slowest:.1f} ms",
    }
    name = "edge: a weight change is visible, median"
    return row, [
        at_most(name, median, 50, "ms"),
        at_most(f"edge: a weight change is visible, slowest of {changes}", slowest, 50, "ms"),
    ]


def shares(served: Served, requests: int) -> tuple[dict[str, Any], list[Target]]:
    """90/10 over many requests."""
    told = served.order("split", percents={"0": 90.0, "1": 10.0}, stable=0)
    time.sleep(max(SETTLE_S - told["seconds"], 0))
    with Clients(served.infer, served.bodies) as clients:
        clients.until(requests)
    seen = clients.seen
    total, green = seen.total, seen.share(served.versions[1])
    off = abs(green - 0.1 * total)
    bound = Z * math.sqrt(total * 0.1 * 0.9)
    row = {
        "edge": "shares at 90/10",
        "requests": total,
        "failed": seen.failed + seen.bad,
        "trouble": seen.trouble,
        "measured": f"{100 * green / total:.3f}% to the 10% version, {off:,.0f} requests off",
    }
    name = f"edge: requests off 10% of {total:,}, 99.9% binomial interval"
    return row, [at_most(name, off, round(bound, 1), "requests")]


def sessions(served: Served, keys: int) -> tuple[dict[str, Any], list[Target]]:
    """Which sessions the new version holds as its weight grows."""
    names = [f"session-{number}" for number in range(keys)]
    held: list[set[str]] = []
    failed, total, trouble = 0, 0, ""
    for percent in STEPS:
        served.order("split", percents={"0": 100 - percent, "1": percent}, stable=0)
        with Clients(served.infer, served.bodies, sessions=names) as clients:
            clients.finish()
        seen = clients.seen
        failed, total = failed + seen.failed + seen.bad, total + seen.total
        trouble = trouble or seen.trouble
        held.append({name for name, v in seen.versions.items() if v == served.versions[1]})
    back = sum(len(before - after) for before, after in pairwise(held))
    found = ", ".join(f"{100 * len(found) / keys:.1f}" for found in held)
    row = {
        "edge": f"{keys:,} sessions at 1, 5, 10, 25, 50 and 100%",
        "requests": total,
        "failed": failed,
        "trouble": trouble,
        "measured": f"{found}% of the sessions on the new version, {back} went back",
    }
    return row, [at_most("edge: sessions that went back to the old version", back, 0, "")]


def moves(served: Served, requests: int) -> tuple[dict[str, Any], list[Target]]:
    """Promote, roll back, promote: whole rollouts, judged on this traffic and on probes."""
    served.order("settle", number=0)
    with Clients(served.infer, served.bodies) as clients:
        clients.until(500)
        spent = []
        for do, details in (("deploy", {"number": 1}), ("rollback", {}), ("deploy", {"number": 1})):
            told = served.order(do, **details)
            spent.append(f"{do} {told['seconds']:.2f} s ({told['status']})")
            if (do, told["status"]) == ("deploy", "rolled_back"):
                raise RuntimeError(f"a good version was rolled back: {told['reasons']}")
        clients.until(requests)
    seen = clients.seen
    row = {
        "edge": "promote, roll back, promote under load",
        "requests": seen.total,
        "failed": seen.failed + seen.bad + seen.refused,
        "trouble": seen.trouble,
        "measured": "; ".join(spent),
    }
    both = min(seen.share(version) for version in served.versions[:2])
    return row, [
        at_most(
            f"edge: failed of {seen.total:,} through promote, roll back, promote",
            row["failed"],
            0,
            "",
        ),
        at_least("edge: requests that each of the two versions answered meanwhile", both, 100, ""),
    ]
