"""Tell the judge of predictions whose truth became known."""

from __future__ import annotations

import socket
import uuid
from pathlib import Path

from agentloop.contracts.traffic import VersionEvidence
from agentloop.serving.judging.channel import EVIDENCE_SOCKET
from agentloop.serving.judging.counts import EvidenceMessage, encode
from agentloop.serving.run_folder import run_dir


def report_labels(home: Path, model: str, version: str, *, correct: int, total: int) -> bool:
    """``correct`` of ``total`` live predictions of ``version`` proved right; False where no edge
    runs on this node. Raises ValueError for counts that cannot be."""
    if not 0 <= correct <= total:
        raise ValueError(f"{correct} correct of {total}")
    counts = VersionEvidence(labelled=float(total), right=float(correct))
    # Each report is a process of its own to the edge: it has said all that it will.
    message = EvidenceMessage(model, version, uuid.uuid4().hex, 1, counts)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.settimeout(1.0)
        try:
            out.sendto(encode(message), str(run_dir(home) / EVIDENCE_SOCKET))
        except OSError:
            return False
    return True
