"""What serving asks of others: who watches predictions, who holds reports, who runs replicas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from agentloop.contracts.models import ModelVersion, SignedReport
from agentloop.contracts.traffic import VersionTraffic
from agentloop.lifecycle.bundle import ModelBundle
from agentloop.serving.control.store import StagedVersion


class Observer(Protocol):
    """Sees every answered request of one replica, in the replica's own thread: keep it cheap."""

    def observe(
        self,
        columns: Mapping[str, npt.NDArray[Any]],
        labels: npt.NDArray[Any],
        seconds: float,
        status: int,
        endpoint: str,
    ) -> None:
        """``columns`` are the raw columns (rows,), ``labels`` class labels or values (rows,).

        Both are empty for a request that failed. ``endpoint`` is ``infer`` or ``invocations``.
        """


ObserverFactory = Callable[[ModelBundle, str, str], Observer]
"""``(bundle, version, replica_id) -> Observer``; it is pickled to the replica."""

ReportLoader = Callable[[ModelVersion], SignedReport]


class Predictor(Protocol):
    """A loaded model."""

    def predict(
        self, columns: Mapping[str, npt.NDArray[Any]]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
        """Labels (rows,) and scores float32 (rows, classes), from raw columns (rows,)."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status 0 stands for a connection that failed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Replay:
    """How a replay through the public route went; ``failed`` counts 5xx and broken connections."""

    sent: int
    failed: int


class ServingPlane(Protocol):
    """What a rollout does to the world: replicas, the edge, HTTP through it."""

    @property
    def url(self) -> str:
        """The public base URL. Raises ModelNotServed when the plane is down."""

    @property
    def inside_url(self) -> str:
        """The base URL for the loop's own processes: no key, no TLS. Raises ModelNotServed."""

    def provision(self, staged: StagedVersion) -> None:
        """Start the version's replicas unless they run; does not wait for them."""

    def failure(self, staged: StagedVersion) -> str | None:
        """Why the version's replicas cannot start, if that is known."""

    def retire(self, staged: StagedVersion) -> None:
        """Stop the version's replicas."""

    def reconcile(self) -> None:
        """Make the edge follow the control store now."""

    def traffic(self, model: str) -> Sequence[VersionTraffic]:
        """What the edge counted."""

    def call(self, path: str, body: bytes | None = None) -> HttpAnswer:
        """GET, or POST ``body``, through the edge; marked as a probe."""

    def replay(self, path: str, bodies: Sequence[bytes], count: int) -> Replay:
        """POST ``count`` of ``bodies``, in turn and concurrently; marked as probes."""
