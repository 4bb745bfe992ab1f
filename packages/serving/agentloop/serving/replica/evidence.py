"""What a replica does about a request once it is answered: count it, and copy it where asked."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agentloop.lifecycle.bundle import ModelBundle, open_bundle
from agentloop.serving.judging.channel import EvidenceSender
from agentloop.serving.replica.prediction_bins import PredictionBins, Predictions
from agentloop.serving.replica.shadowing import ShadowMirror

PROBE_HEADER = b"x-agentloop-probe"
SHADOW_HEADER = b"x-agentloop-shadow"
_JSON_LENGTH = b"inference-header-content-length"

log = logging.getLogger(__name__)


class ReplicaEvidence:
    """Called after each answer; never raises into the request's path."""

    def __init__(self, sender: EvidenceSender, mirror: ShadowMirror | None = None) -> None:
        self._sender = sender
        self._mirror = mirror

    def answered(
        self,
        headers: Mapping[bytes, bytes],
        endpoint: str,
        content: bytes,
        labels: Predictions,
        seconds: float,
        status: int,
        comparable: bool = True,
    ) -> None:
        """``labels`` (rows,) are what was predicted, empty for a request that was refused;
        ``comparable`` says that a copy's answer would hold them as JSON."""
        try:
            self._sender.note(seconds, status, labels, PROBE_HEADER in headers)
            if SHADOW_HEADER in headers and status == 200 and comparable:
                self._mirrored(headers, endpoint, content, labels)
        except Exception:  # watching must never fail what is watched
            log.exception("evidence was lost")

    def _mirrored(
        self, headers: Mapping[bytes, bytes], endpoint: str, content: bytes, labels: Predictions
    ) -> None:
        # The copy is sent as plain JSON, so a body with raw tensors after it cannot be.
        if self._mirror is not None and _JSON_LENGTH not in headers:
            self._mirror.offer(headers[SHADOW_HEADER], endpoint, content, labels)

    def close(self) -> None:
        if self._mirror is not None:
            self._mirror.close()
        self._sender.close()


@dataclass(frozen=True, slots=True)
class EvidencePlace:
    """``folder`` holds the edge's sockets, ``serve_port`` is Serve's own behind it;
    ``stable_bundle`` is that of the version that is stable now, whose bins of a regression's
    values are used beside the replica's own."""

    folder: str
    serve_port: int
    stable_bundle: str | None = None


def replica_evidence(bundle: ModelBundle, version: str, place: EvidencePlace) -> ReplicaEvidence:
    """The evidence of one replica of a version. Raises ArtifactUnverified."""
    own = bundle.reference.prediction.edges
    stable: tuple[float, ...] = ()
    if place.stable_bundle is not None and bundle.signature.task == "regression":
        stable = open_bundle(Path(place.stable_bundle)).reference.prediction.edges
    bins = PredictionBins.of(bundle.signature, own, stable)
    model = bundle.signature.model
    sender = EvidenceSender(model, version, bins, Path(place.folder))
    return ReplicaEvidence(sender, ShadowMirror(model, place.serve_port, sender, bins))
