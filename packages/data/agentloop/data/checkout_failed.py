"""Why a version was not checked out."""

from __future__ import annotations

from dataclasses import dataclass

from agentloop.contracts.error_base import NOTHING_WRITTEN
from agentloop.contracts.errors import VersioningFailed


@dataclass(eq=False)
class CheckoutFailed(VersioningFailed):
    """A version could not be put where it was asked for."""

    kept: str = NOTHING_WRITTEN
    next_step: str = "run the same command again"

    @property
    def summary(self) -> str:
        return f"The version was not checked out: {self.reason}."
