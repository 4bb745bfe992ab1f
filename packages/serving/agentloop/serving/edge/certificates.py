"""The edge's certificate: checked before it is used, joined for HAProxy, renewed without loss."""

from __future__ import annotations

import hashlib
import logging
import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from agentloop.contracts.errors import CertificateUnusable
from agentloop.serving.edge.guards import write_private

PEM_FILE = "edge.pem"
Stamp = tuple[tuple[int, int, int], ...]

log = logging.getLogger(__name__)


def read_certificate(certificate: str, key: str, now: datetime) -> bytes:
    """The chain and the private key as one PEM. Raises CertificateUnusable if a file is missing or
    is no PEM, the key belongs to another certificate or has a password, or it is not valid now."""
    chain, secret = _read(certificate), _read(key)
    try:
        leaf = x509.load_pem_x509_certificate(chain)
    except ValueError:
        raise CertificateUnusable(certificate, "it holds no PEM certificate") from None
    if now > leaf.not_valid_after_utc:
        raise CertificateUnusable(certificate, f"it expired on {leaf.not_valid_after_utc:%Y-%m-%d}")
    if now < leaf.not_valid_before_utc:
        start = leaf.not_valid_before_utc
        raise CertificateUnusable(certificate, f"it is not valid before {start:%Y-%m-%d %H:%M}")
    _check_pair(certificate, key)
    return chain.rstrip() + b"\n" + secret.rstrip() + b"\n"


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CertificateUnusable(path, error.strerror or str(error)) from None


def _check_pair(certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except _Locked:
        raise CertificateUnusable(key, "it has a password") from None
    except ssl.SSLError as error:
        mismatch = error.reason == "KEY_VALUES_MISMATCH"
        reason = "it belongs to another certificate" if mismatch else "it is no PEM private key"
        raise CertificateUnusable(key, reason) from None


class _Locked(Exception):
    pass


def _no_password() -> str:
    raise _Locked


class CertificateWatch:
    """Keeps ``folder``'s joined PEM as new as the two files; a look costs two ``stat`` calls."""

    def __init__(self, folder: Path) -> None:
        self._pem = folder / PEM_FILE
        self._seen: tuple[str, str, Stamp] | None = None
        self._digest = ""

    def digest(self, certificate: str, key: str) -> str:
        """Of the PEM in use; another value asks for a reload. A renewal that cannot be used leaves
        the old one in use. Raises CertificateUnusable where there is none."""
        seen = certificate, key, (_stamp(certificate), _stamp(key))
        if seen == self._seen:
            return self._digest
        try:
            pem = read_certificate(certificate, key, datetime.now(UTC))
        except CertificateUnusable as error:
            if not self._pem.exists():
                raise
            # A renewal writes two files, one after the other: the next look finds them whole.
            log.warning("the edge keeps its old certificate: %s", error)
            pem = self._pem.read_bytes()
        else:
            write_private(self._pem, pem)
        self._seen, self._digest = seen, hashlib.sha256(pem).hexdigest()
        return self._digest


def _stamp(path: str) -> tuple[int, int, int]:
    try:
        info = Path(path).stat()
    except OSError:
        return (0, 0, 0)
    return info.st_mtime_ns, info.st_size, info.st_ino
