"""Renew a lease from a thread of its own, so that no slow call of the controller lets it end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from agentloop.contracts.errors import RolloutOvertaken, StaleEpoch

log = logging.getLogger(__name__)

LEASE_SECONDS = 5.0
RENEW_SECONDS = 1.5
# A controller that neither moves nor watches for so long counts as dead, though its thread lives.
# One look may take long: 200 probes of a slow model over four connections.
STALL_SECONDS = 300.0


class LeaseKeeper:
    """Calls ``renew`` every ``every`` seconds while its block runs.

    ``renew`` takes whether the controller still moves (``moved`` was called lately). A store that
    cannot be reached is tried again; one that says that somebody newer has decided is believed.
    """

    def __init__(
        self,
        renew: Callable[[bool], None],
        clock: Callable[[], float],
        every: float = RENEW_SECONDS,
    ) -> None:
        self._renew = renew
        self._clock = clock
        self._every = every
        self._moved_at = clock()
        self._lost: StaleEpoch | RolloutOvertaken | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def moved(self) -> None:
        """Note a sign of life. Raises StaleEpoch or RolloutOvertaken once the lease is lost."""
        if self._lost is not None:
            raise self._lost
        self._moved_at = self._clock()

    def _run(self) -> None:
        while not self._stopping.wait(self._every):
            try:
                self._renew(self._clock() - self._moved_at < STALL_SECONDS)
            except (StaleEpoch, RolloutOvertaken) as error:
                self._lost = error
                return
            except Exception as error:
                log.warning("a rollout's lease could not be renewed: %s", error)
