"""API keys: who may ask, how often, until when.

A key is 256 random bits, shown once. At rest there is its SHA-256 only: a slow hash protects
passwords, which can be guessed; nobody guesses 2^256 tokens, and a slow hash would cost every
request milliseconds. The edge hashes what is presented and looks the hash up in a map. How long
the look-up takes depends on the hash alone, whose bytes nobody can steer towards a stored one
without inverting SHA-256, so it is no timing oracle; Python compares in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

from agentloop.contracts.errors import ApiKeyRefused

PREFIX = "al_"  # lets scanners of leaked secrets know one
PERIODS = {"s": 1, "m": 60, "h": 3600}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_RATE = re.compile(r"([1-9][0-9]{0,6})/([smh])")


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``limit`` requests in ``seconds`` (1, 60 or 3600), over a sliding window."""

    limit: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Rate:
        """From ``100/s``, ``20/m`` or ``5000/h``. Raises ValueError."""
        found = _RATE.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no rate; write 100/s, 20/m or 5000/h")
        return cls(int(found[1]), PERIODS[found[2]])

    def __str__(self) -> str:
        unit = next(unit for unit, seconds in PERIODS.items() if seconds == self.seconds)
        return f"{self.limit}/{unit}"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """``digest`` is the token's SHA-256 (hex). A ``tester`` may ask for a staged version by name.
    Times are Unix seconds; ``expires_at`` None: never."""

    name: str
    digest: str
    created_at: float
    rate: Rate | None = None
    tester: bool = False
    expires_at: float | None = None
    revoked_at: float | None = None

    def is_valid(self, now: float) -> bool:
        expired = self.expires_at is not None and self.expires_at <= now
        return self.revoked_at is None and not expired


class KeyStore(Protocol):
    """Where keys are kept; a name is never given twice, so that logs stay true."""

    def all(self) -> tuple[ApiKey, ...]:
        """All, oldest first, revoked ones included."""

    def add(self, key: ApiKey) -> None:
        """Raises ApiKeyRefused where the name was given before."""

    def revoke(self, name: str, now: float) -> ApiKey:
        """Raises ApiKeyRefused where there is no such key; revoking twice is fine."""


class MemoryKeyStore:
    """A KeyStore for tests."""

    def __init__(self) -> None:
        self._keys: dict[str, ApiKey] = {}
        self._lock = Lock()

    def all(self) -> tuple[ApiKey, ...]:
        return tuple(self._keys.values())

    def add(self, key: ApiKey) -> None:
        with self._lock:
            if key.name in self._keys:
                raise name_taken(key.name)
            self._keys[key.name] = key

    def revoke(self, name: str, now: float) -> ApiKey:
        with self._lock:
            self._keys[name] = key = revoked(self._keys.get(name), name, now)
            return key


def create_key(
    store: KeyStore,
    name: str,
    now: float,
    *,
    rate: Rate | None = None,
    tester: bool = False,
    days: float | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its token, which is kept nowhere. Raises ApiKeyRefused."""
    if not _NAME.fullmatch(name):
        raise ApiKeyRefused(name, "a name has 1 to 63 letters, digits, dots, dashes, underscores")
    if days is not None and days <= 0:
        raise ApiKeyRefused(name, "it would expire before it is used")
    token = PREFIX + secrets.token_urlsafe(32)
    expires_at = None if days is None else now + days * 86_400
    key = ApiKey(name, digest_of(token), now, rate, tester, expires_at)
    store.add(key)
    return key, token


def find_key(store: KeyStore, token: str, now: float) -> ApiKey | None:
    """The valid key of ``token``, in a time that does not depend on which one it is."""
    digest, found = digest_of(token), None
    for key in store.all():
        if hmac.compare_digest(key.digest, digest) and key.is_valid(now):
            found = key
    return found


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def map_entries(keys: Iterable[ApiKey], now: float) -> Mapping[str, str]:
    """What the edge looks up: digest to ``name:limit:seconds:tester``; limit 0 is none."""
    return {
        key.digest: f"{key.name}:{key.rate.limit if key.rate else 0}:"
        f"{key.rate.seconds if key.rate else 0}:{int(key.tester)}"
        for key in keys
        if key.is_valid(now)
    }


def name_taken(name: str) -> ApiKeyRefused:
    step = "give another name; a name is never used twice, so that logs stay true"
    return ApiKeyRefused(name, "there is, or was, a key of this name", next_step=step)


def revoked(key: ApiKey | None, name: str, now: float) -> ApiKey:
    """``key`` without its rights. Raises ApiKeyRefused where there is none."""
    if key is None:
        raise ApiKeyRefused(name, "there is no key of this name")
    if key.revoked_at is not None:
        return key
    return ApiKey(key.name, key.digest, key.created_at, key.rate, key.tester, key.expires_at, now)
