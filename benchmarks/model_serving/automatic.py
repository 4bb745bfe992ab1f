"""A version that fails half of its calls meets real traffic, and the judge."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from typing import Any

from clients import Clients
from served import POLL_S, Served
from targets import Target, at_most

Rows = list[dict[str, Any]]
REQUESTS_PER_S = 50.0
LIMIT_S = 5.0
ROLLOUTS = {
    "defaults, with probes": {},
    "traffic alone, from 10%": {"probe": False, "steps": [10, 50, 100], "max_wait_seconds": 60},
}


def run(quick: bool) -> tuple[Rows, list[Target]]:
    """Rows and targets."""
    rows: Rows = []
    targets: list[Target] = []
    for title, rollout in ROLLOUTS.items():
        row, wanted = once(title, rollout)
        print("  ".join(f"{k} {v}" for k, v in row.items()), file=sys.stderr, flush=True)
        rows.append(row)
        targets += wanted
    return rows, targets


class Watch(threading.Thread):
    """Notes the first bad answer of the green version, and when its weight is 0 after it."""

    def __init__(self, served: Served) -> None:
        super().__init__(daemon=True)
        self._served, self._earlier = served, served.errors(1)
        self._stopping = threading.Event()
        self.first_bad: float | None = None
        self.restored: float | None = None

    def run(self) -> None:
        while not self._stopping.wait(POLL_S) and self.restored is None:
            if self.first_bad is None:
                if self._served.errors(1) > self._earlier and self._served.weight(1) > 0:
                    self.first_bad = time.monotonic()
            elif self._served.stats() and self._served.weight(1) == 0:
                self.restored = time.monotonic()

    def stop(self) -> None:
        self._stopping.set()
        self.join()


def once(title: str, rollout: dict[str, Any]) -> tuple[dict[str, Any], list[Target]]:
    """From the first bad answer that the edge saw to the stable weights in HAProxy."""
    options = ("--versions", "2", "--serve", "2", "--fails", "1", "--rollout", json.dumps(rollout))
    with Served(*options) as served:
        watch = Watch(served)
        with Clients(served.infer, served.bodies, rate=REQUESTS_PER_S) as clients:
            clients.until(50)
            watch.start()
            told = served.order("deploy", number=1)
            time.sleep(1.0)
        watch.stop()
    seen = clients.seen
    if watch.first_bad is None or watch.restored is None:
        seconds = float("inf")
    else:
        seconds = watch.restored - watch.first_bad
    errors = seen.failed + seen.bad + seen.refused
    row = {
        "failing_version": title,
        "status": told["status"],
        "seconds_from_first_bad_answer": round(seconds, 2) if math.isfinite(seconds) else None,
        "its_requests": int(told["metrics"].get("canary_requests", 0)),
        "its_errors": int(told["metrics"].get("canary_errors", 0)),
        "client_requests": seen.total,
        "client_errors": errors,
    }
    name = f"automatic rollback, {title}"
    return row, [
        at_most(f"{name}: from the first bad answer", seconds, LIMIT_S, "s"),
        at_most(f"{name}: errors seen by clients", errors, 0, ""),
    ]
