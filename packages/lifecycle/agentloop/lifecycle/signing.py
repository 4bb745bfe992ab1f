"""Sign validation reports, and verify them before a version may get traffic.

Ed25519 (RFC 8032). The private key stays in the state folder, readable by its owner alone.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from agentloop.contracts.codec import canonical_json, from_dict, to_dict
from agentloop.contracts.errors import ArtifactUnverified
from agentloop.contracts.models import SignedReport, ValidationReport

PRIVATE_KEY = "gate.key"
PUBLIC_KEY = "gate.pub"


class Signer:
    """Signs with the gate's private key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @property
    def public_key(self) -> str:
        return self._key.public_key().public_bytes_raw().hex()

    def sign(self, report: ValidationReport) -> SignedReport:
        body = canonical_json(to_dict(report))
        return SignedReport(body, self._key.sign(body.encode()).hex(), self.public_key)


def open_signer(folder: Path) -> Signer:
    """The signer whose key is in ``folder``; made on first use, so one folder has one key."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / PRIVATE_KEY
    if not path.exists():
        partial = folder / f".{PRIVATE_KEY}.{os.getpid()}"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(Ed25519PrivateKey.generate().private_bytes_raw())
        try:
            os.link(partial, path)  # fails if another process was first: its key stays
        except FileExistsError:
            pass
        finally:
            partial.unlink()
    signer = Signer(Ed25519PrivateKey.from_private_bytes(path.read_bytes()))
    (folder / PUBLIC_KEY).write_text(signer.public_key, encoding="ascii")
    return signer


def verify_report(signed: SignedReport, trusted_key: str, digest: str) -> ValidationReport:
    """The report, if it is signed by ``trusted_key``, approves, and is about bundle ``digest``.

    Raises ArtifactUnverified otherwise.
    """
    name = f"report on {digest[:12]}"
    if signed.public_key != trusted_key:
        raise ArtifactUnverified(name, "it is signed by a key that is not trusted")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed.public_key))
        key.verify(bytes.fromhex(signed.signature), signed.body.encode())
        report = from_dict(ValidationReport, json.loads(signed.body))
    except (InvalidSignature, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else "its signature does not match"
        raise ArtifactUnverified(name, reason) from None
    if report.model_digest != digest:
        raise ArtifactUnverified(name, "it is about another model")
    if not report.deployment_approved:
        raise ArtifactUnverified(name, "the gate did not approve this version")
    return report
