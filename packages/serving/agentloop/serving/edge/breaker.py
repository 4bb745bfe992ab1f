"""When a version fails most of what it is asked, stop asking it for a while: a pure decision.

HAProxy's own breaker (``observe layer7``) knows a server and not its model: ten bad requests in a
row would take the only version away from everybody. Here the stable version is never cut off, for
behind it there is nothing to ask instead. Clients see no errors either way, since failed requests
are rescued; the breaker saves them the detour. It opens after more failures than the judge needs
to roll back, and while it is open the version has weight 0 for the judge too, so that neither its
evidence nor its test of the split is disturbed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from agentloop.serving.edge.haproxy_stats import Counts, Key

OPENS_AT = 20
OPENS_AGAIN_AT = 5
FAILING_SHARE = 0.5
FIRST_SECONDS = 1.0
MOST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Tripped:
    """No requests before ``until`` (Unix seconds); then a trial that takes as long again."""

    until: float
    seconds: float

    def is_open(self, now: float) -> bool:
        return now < self.until


def look(
    tripped: Mapping[Key, Tripped],
    before: Mapping[Key, Counts],
    after: Mapping[Key, Counts],
    stable: Collection[Key],
    now: float,
) -> dict[Key, Tripped]:
    """The breakers that are open or on trial, from the counts of two looks at the edge."""
    found = {}
    for key, counts in after.items():
        known = tripped.get(key)
        if key in stable:
            continue
        earlier = before.get(key, counts)
        requests = counts.requests - earlier.requests
        errors = counts.errors - earlier.errors
        failing = errors >= (OPENS_AGAIN_AT if known else OPENS_AT)
        if known is not None and known.is_open(now):
            found[key] = known
        elif failing and errors >= FAILING_SHARE * requests:
            seconds = min(known.seconds * 2, MOST_SECONDS) if known else FIRST_SECONDS
            found[key] = Tripped(now + seconds, seconds)
        elif known is not None and now < known.until + known.seconds:
            found[key] = known
    return found
