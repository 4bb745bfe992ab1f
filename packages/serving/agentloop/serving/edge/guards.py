"""What the edge asks of those who call it, as data, and the file that keeps it.

The file lies in the run folder, so that an edge actor that was restarted, or that outlived the
process which started it, finds the guards that were asked for last.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from agentloop.contracts.codec import canonical_json, from_dict, to_dict
from agentloop.contracts.errors import EdgeExposed
from agentloop.contracts.spec_serving import LOOPBACK, ServingSpec

GUARDS_FILE = "guards.json"
INSIDE = "/_inside/"


@dataclass(frozen=True, slots=True)
class Inside:
    """A door for the loop's own processes: plain HTTP on a loopback port, behind a secret path.

    A path and not a header, so that every client that takes a base URL can use it.
    """

    port: int
    secret: str

    @property
    def prefix(self) -> str:
        return INSIDE + self.secret

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    @property
    def digest(self) -> str:
        """What HAProxy compares: its time tells nothing of the secret."""
        return hashlib.sha256(self.secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class EdgeGuards:
    """``header_seconds`` is how long a client may take to send its headers and the first 64 KB of
    its body, and how long it may pause after that. ``connections`` is the most that one address
    beyond loopback may hold. ``certificate`` and ``key`` are paths of PEM files; empty without TLS.
    """

    max_body_bytes: int = 8_000_000
    timeout_seconds: float = 60.0
    header_seconds: float = 10.0
    connections: int = 512
    keys: bool = False
    certificate: str = ""
    key: str = ""
    access_log: bool = False
    insecure: bool = False
    inside: Inside | None = None

    @property
    def tls(self) -> bool:
        return bool(self.certificate)


def guards_of(serving: ServingSpec) -> EdgeGuards:
    """The guards that ``loop.yaml`` asks for; files are looked up from the working directory."""
    tls = serving.tls
    return EdgeGuards(
        max_body_bytes=int(serving.max_body_mb * 1_000_000),
        timeout_seconds=serving.timeout_seconds,
        keys=serving.keys,
        certificate=str(Path(tls.certificate).expanduser().absolute()) if tls else "",
        key=str(Path(tls.key).expanduser().absolute()) if tls else "",
        access_log=serving.access_log,
        insecure=serving.insecure,
    )


def require_guarded(host: str, guards: EdgeGuards) -> None:
    """Raises EdgeExposed for an address that strangers reach and nothing guards."""
    if host not in LOOPBACK and not (guards.keys and guards.tls) and not guards.insecure:
        raise EdgeExposed(host)


def with_inside(
    guards: EdgeGuards, host: str, known: EdgeGuards | None, free_port: int
) -> EdgeGuards:
    """``guards`` with a door inside where the public one asks for more than a loopback address; a
    door that ``known`` had stays, for its URL may be in use."""
    if not guards.keys and not guards.tls and host in LOOPBACK:
        return replace(guards, inside=None)
    if known is not None and known.inside is not None:
        return replace(guards, inside=known.inside)
    return replace(guards, inside=Inside(free_port, secrets.token_urlsafe(32)))


def save_guards(folder: Path, guards: EdgeGuards) -> None:
    """Replace the file as a whole; only its owner may read it."""
    write_private(folder / GUARDS_FILE, canonical_json(to_dict(guards)).encode())


def load_guards(folder: Path) -> EdgeGuards | None:
    """The guards that were asked for last; None before the first."""
    try:
        text = (folder / GUARDS_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return from_dict(EdgeGuards, json.loads(text))


def write_private(path: Path, content: bytes) -> None:
    """Write a file that is whole or not there, with mode 0600 from its first byte."""
    candidate = path.with_name(f"{path.name}.{os.getpid()}.next")
    candidate.unlink(missing_ok=True)
    descriptor = os.open(candidate, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    candidate.replace(path)
