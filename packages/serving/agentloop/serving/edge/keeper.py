"""Keep HAProxy doing what the control store says, and do the duties that fall due.

Level-triggered: each pass compares what should be with what is, so a missed call, a restart or a
crash between two writes heals on the next pass.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from agentloop.contracts.errors import AgentLoopError, StaleEpoch
from agentloop.contracts.traffic import VersionTraffic
from agentloop.serving.control.store import ControlStore, RolloutEvent
from agentloop.serving.edge.api_keys import KeyStore, map_entries
from agentloop.serving.edge.breaker import Tripped, look
from agentloop.serving.edge.certificates import CertificateWatch
from agentloop.serving.edge.counts import EdgeCounts
from agentloop.serving.edge.doorbell import Doorbell
from agentloop.serving.edge.duties import ReturnToStable, due
from agentloop.serving.edge.guards import EdgeGuards, load_guards, write_private
from agentloop.serving.edge.haproxy_config import (
    ROUTES_MAP,
    render_haproxy_config,
    route_entries,
)
from agentloop.serving.edge.haproxy_doorman import LUA, LUA_FILE
from agentloop.serving.edge.haproxy_guards import KEYS_MAP
from agentloop.serving.edge.haproxy_maps import HaproxyMaps
from agentloop.serving.edge.haproxy_process import HaproxyProcess
from agentloop.serving.edge.haproxy_stats import Counts, Key, as_traffic
from agentloop.serving.edge.plan import EdgePlan, plan_edge
from agentloop.serving.naming import app_name

TICK_SECONDS = 0.25

log = logging.getLogger(__name__)


class EdgeKeeper:
    """Owns one HAProxy. ``delete_app`` takes a Serve application's name and may be repeated."""

    def __init__(
        self,
        store: ControlStore,
        process: HaproxyProcess,
        folder: Path,
        keys: KeyStore,
        delete_app: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._process = process
        self._folder = folder
        self._keys = keys
        self._certificate = CertificateWatch(folder)
        self._maps = HaproxyMaps(folder, process.command)
        self._delete_app = delete_app
        self._clock = clock
        self._applied: EdgePlan | None = None
        self._counts = EdgeCounts(folder, process.command)
        self._tripped: dict[Key, Tripped] = {}
        self._looked: dict[Key, Counts] = {}
        self._stopped = False
        self._lock = threading.Lock()

    def reconcile(self) -> None:
        """Make HAProxy follow the store. Raises PortInUse, ClusterError; it then runs as before."""
        with self._lock:
            plan = self._plan()
            if plan is None or self._stopped:
                return
            applied = self._applied
            if applied and self._process.pid is not None and applied.shape == plan.shape:
                self._follow(applied, plan)
            else:
                self._begin(applied, plan)
            self._applied = plan

    def _begin(self, applied: EdgePlan | None, plan: EdgePlan) -> None:
        """A process with the configuration of ``plan``: a new one, unless one runs with it."""
        config = render_haproxy_config(plan)
        if applied is None and self._process.runs(config):
            self._process.hold()  # a keeper before this one started it: take it over
            self._follow(None, plan)
        else:
            self._reload(config, plan)

    def tick(self) -> None:
        """One pass: duties, then ``reconcile``."""
        store = self._store
        if self._process.kill_if_hung():
            log.error("HAProxy did not answer any more; it was killed and starts again")
        for duty in due(store.splits(), store.bakes(), store.staged(), self._clock()):
            if isinstance(duty, ReturnToStable):
                self._return_to_stable(duty)
            else:
                self._retire(duty.model, duty.version)
        self._look()
        self.reconcile()

    def traffic(self, model: str) -> list[VersionTraffic]:
        """What HAProxy counted for each version of ``model`` since it was staged."""
        with self._lock:
            plan = self._applied
            if plan is None:
                return []
            return as_traffic(plan, model, self._counts.read(plan))

    def stop(self) -> None:
        """Stop HAProxy for good: a pass under way must not start it again."""
        with self._lock:
            self._stopped = True
            self._process.stop()
            self._applied = None

    def _plan(self) -> EdgePlan | None:
        address = self._store.address()
        if address is None:
            return None
        guards = load_guards(self._folder) or EdgeGuards()
        now = self._clock()
        return plan_edge(
            address,
            self._folder,
            guards,
            self._store.staged(),
            self._store.splits(),
            [key for key, tripped in self._tripped.items() if tripped.is_open(now)],
            self._certificate.digest(guards.certificate, guards.key) if guards.tls else "",
        )

    def _key_entries(self, plan: EdgePlan) -> Mapping[str, str]:
        return map_entries(self._keys.all(), self._clock()) if plan.guards.keys else {}

    def _reload(self, config: str, plan: EdgePlan) -> None:
        self._counts.carry(self._applied)
        # The new process reads these files as it starts.
        write_private(self._folder / LUA_FILE, LUA.encode())
        self._maps.write(KEYS_MAP, self._key_entries(plan))
        self._maps.write(ROUTES_MAP, route_entries(plan))
        self._process.apply(config, plan.address.port)

    def _follow(self, applied: EdgePlan | None, plan: EdgePlan) -> None:
        """What needs no reload: weights, sessions, keys. All of them where it is not known what
        was ``applied``."""
        known = applied.routes if applied is not None else {}
        changes = [
            f"set server {kind}.{model}/{version} weight {weight}"
            for (model, version), route in plan.routes.items()
            if known.get((model, version)) != route
            for kind, weight in (("model", route.turns), ("sticky", route.weight))
        ]
        if changes:
            self._process.command("; ".join(changes))
        self._maps.follow(ROUTES_MAP, route_entries(plan))
        if plan.guards.keys:
            self._maps.follow(KEYS_MAP, self._key_entries(plan))

    def _look(self) -> None:
        """Trip, or close again, the breakers of versions beside the stable one."""
        with self._lock:
            plan = self._applied
            if plan is None or all(len(model.versions) < 2 for model in plan.models):
                return
            counts = self._counts.read(plan)
            stable = {(split.model, split.stable) for split in self._store.splits()}
            tripped = look(self._tripped, self._looked, counts, stable, self._clock())
            self._looked = counts
        for model, version in tripped.keys() - self._tripped.keys():
            self._record(model, "failing: cut off for a while", version)
        self._tripped = tripped

    def _return_to_stable(self, duty: ReturnToStable) -> None:
        try:
            self._store.put_split(duty.split)
        except StaleEpoch:
            return  # somebody newer has decided meanwhile
        self._record(
            duty.split.model, "lease expired: traffic returned to stable", duty.split.stable
        )

    def _retire(self, model: str, version: str) -> None:
        staged = [s for s in self._store.staged() if (s.model, s.version) == (model, version)]
        for item in staged:
            self._store.put_staged(replace(item, retiring=True))
        self.reconcile()  # out of the edge first, then out of Serve
        try:
            self._delete_app(app_name(model, version))
        except Exception:
            log.exception("retiring %s %s failed; it is tried again", model, version)
            return
        self._store.remove_staged(model, version)
        self._store.remove_bake(model, version)
        if staged:
            self._record(model, "retired", version)

    def _record(self, model: str, action: str, version: str) -> None:
        detail = {"version": version}
        self._store.record(RolloutEvent(self._clock(), model, "", "done", action, detail))


def guarded(action: Callable[[], None]) -> None:
    """A pass that survives its own failure, for a loop that must not die."""
    try:
        action()
    except (AgentLoopError, OSError) as error:
        log.warning("the edge could not be brought up to date: %s", error)
    except Exception:
        log.exception("the edge's keeper failed")


def keep(
    stopping: threading.Event,
    keeper: EdgeKeeper,
    process: HaproxyProcess,
    bell: Doorbell,
    tick_seconds: float = TICK_SECONDS,
) -> None:
    """Pass after pass until ``stopping``; what the bell rings for, and a death of HAProxy, are
    followed up at once."""
    while not stopping.is_set():
        guarded(keeper.tick)
        next_tick, gone = time.monotonic() + tick_seconds, False
        while not gone and (left := next_tick - time.monotonic()) > 0:
            gone = process.wait_exit(left, bell.fileno())
            if bell.rang():
                guarded(keeper.reconcile)
