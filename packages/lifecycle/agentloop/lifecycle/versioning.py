"""Semantic model versions: ``MAJOR.MINOR.PATCH-<data8>-<params8>``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agentloop.contracts.errors import InvalidVersion

FIRST_BASE = "0.0.0"
HASH_LENGTH = 8
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9a-f]{8})-([0-9a-f]{8}))?")
_HASH = re.compile(r"[0-9a-fA-F]{8,}")


@dataclass(frozen=True, order=True, slots=True)
class SemanticVersion:
    """The three numbers, ordered; the metadata do not take part in the order."""

    major: int
    minor: int
    patch: int

    def raised(self, change_type: str) -> SemanticVersion:
        """The next version after a change; the lower parts go back to 0. Raises InvalidVersion."""
        match change_type:
            case "architecture":
                return SemanticVersion(self.major + 1, 0, 0)
            case "improvement":
                return SemanticVersion(self.major, self.minor + 1, 0)
            case "bugfix":
                return SemanticVersion(self.major, self.minor, self.patch + 1)
            case _:
                known = "choose architecture, improvement or bugfix"
                raise InvalidVersion(str(change_type), f"it is no change type; {known}")

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


def parse_version(text: str) -> SemanticVersion:
    """The numbers of a version with or without metadata. Raises InvalidVersion."""
    found = _VERSION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        form = "a version is MAJOR.MINOR.PATCH or MAJOR.MINOR.PATCH-<data8>-<params8>"
        raise InvalidVersion(str(text), form)
    return SemanticVersion(int(found[1]), int(found[2]), int(found[3]))


class ModelVersioning:
    """Names the next version of a model."""

    def generate_version(
        self, base_version: str, change_type: str, training_data_hash: str, hyperparams_hash: str
    ) -> str:
        """The version after ``base_version``, which may carry metadata already.

        ``change_type`` is architecture (MAJOR), improvement (MINOR) or bugfix (PATCH). The hashes
        are hex of at least eight characters; the first eight become the metadata. Raises
        InvalidVersion for anything else.
        """
        numbers = parse_version(base_version).raised(change_type)
        return f"{numbers}-{_short(training_data_hash)}-{_short(hyperparams_hash)}"


def _short(digest: str) -> str:
    if not isinstance(digest, str) or not _HASH.fullmatch(digest):
        raise InvalidVersion(str(digest), "a hash is hex of at least eight characters")
    return digest[:HASH_LENGTH].lower()
