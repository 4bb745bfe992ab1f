"""What can go wrong at the guarded edge: exposure, certificates, API keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agentloop.contracts.serving_errors import ServingError


@dataclass(eq=False)
class EdgeExposed(ServingError):
    """The edge was told to listen for strangers without a guard."""

    host: str
    exit_code: ClassVar[int] = 69
    kept: str = "Nothing was started."
    next_step: str = "set serving.keys and serving.tls in loop.yaml, or serving.insecure: true"

    @property
    def summary(self) -> str:
        return f"The edge will not listen on {self.host} without API keys and TLS."


@dataclass(eq=False)
class CertificateUnusable(ServingError):
    path: str
    reason: str
    exit_code: ClassVar[int] = 74
    kept: str = "Nothing was started; an edge that runs keeps its certificate."
    next_step: str = "correct serving.tls in loop.yaml: PEM files of a certificate and its key"

    @property
    def summary(self) -> str:
        return f"The edge cannot use {self.path}: {self.reason}."


@dataclass(eq=False)
class ApiKeyRefused(ServingError):
    name: str
    reason: str
    exit_code: ClassVar[int] = 75
    kept: str = "All keys are as they were."
    next_step: str = "agentloop keys list"

    @property
    def summary(self) -> str:
        return f"The API key {self.name!r} was refused: {self.reason}."
