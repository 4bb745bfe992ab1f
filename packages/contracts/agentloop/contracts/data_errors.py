"""What can be wrong with data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agentloop.contracts.data import Finding
from agentloop.contracts.error_base import NOTHING_WRITTEN, AgentLoopError


class DataError(AgentLoopError):
    exit_code = 20


@dataclass(eq=False)
class SourceNotFound(DataError):
    source: str
    next_step: str = "set data.source to an existing file, folder or callable"
    kept: str = NOTHING_WRITTEN
    exit_code: ClassVar[int] = 21

    @property
    def summary(self) -> str:
        return f"The data source {self.source} does not exist."


@dataclass(eq=False)
class EmptySource(DataError):
    source: str
    next_step: str = "check that the source has a header and at least one row"
    kept: str = NOTHING_WRITTEN
    exit_code: ClassVar[int] = 22

    @property
    def summary(self) -> str:
        return f"The data source {self.source} holds no rows."


@dataclass(eq=False)
class NothingNew(DataError):
    """An increment that has no rows yet: not a fault, so it has a code of its own."""

    source: str
    since: str
    kept: str = NOTHING_WRITTEN
    next_step: str = "run the same command again when there are newer rows"
    exit_code: ClassVar[int] = 18

    @property
    def summary(self) -> str:
        return f"There is nothing later than {self.since} in {self.source}."


@dataclass(eq=False)
class TargetMissing(DataError):
    target: str
    columns: tuple[str, ...]
    nearest: str | None = None
    kept: str = NOTHING_WRITTEN
    exit_code: ClassVar[int] = 23

    @property
    def summary(self) -> str:
        hint = f" Did you mean '{self.nearest}'?" if self.nearest else ""
        shown = ", ".join(self.columns[:12]) + (", …" if len(self.columns) > 12 else "")
        return f"The target column '{self.target}' is not in the data.{hint} Columns: {shown}."

    @property
    def next_step(self) -> str:  # type: ignore[override]
        return "set data.target to one of these columns"


@dataclass(eq=False)
class SourceUnreadable(DataError):
    source: str
    reason: str
    next_step: str = "check the file's format, encoding and permissions"
    kept: str = NOTHING_WRITTEN
    exit_code: ClassVar[int] = 24

    @property
    def summary(self) -> str:
        return f"The data source {self.source} cannot be read: {self.reason}."


@dataclass(eq=False)
class SchemaMismatch(DataError):
    source: str
    differences: tuple[str, ...]
    kept: str = NOTHING_WRITTEN
    next_step: str = "fix the source, or declare the new schema under data.schema"
    exit_code: ClassVar[int] = 25

    @property
    def summary(self) -> str:
        shown = "\n".join(f"  {line}" for line in self.differences)
        return f"{self.source} does not fit its schema:\n{shown}"


@dataclass(eq=False)
class DataQualityError(DataError):
    """A batch was rejected. ``errors`` holds one sentence a reason, ``findings`` all that the
    checks found, warnings included; the batch is in quarantine."""

    errors: tuple[str, ...]
    quarantine: str = ""
    findings: tuple[Finding, ...] = ()
    exit_code: ClassVar[int] = 26

    @property
    def summary(self) -> str:
        shown = "\n".join(f"  {line}" for line in self.errors)
        return f"The batch was rejected by its data checks:\n{shown}"

    @property
    def kept(self) -> str:  # type: ignore[override]
        return (
            f"The batch was set aside in {self.quarantine}." if self.quarantine else NOTHING_WRITTEN
        )

    @property
    def next_step(self) -> str:  # type: ignore[override]
        return "fix the data, or relax data.checks in loop.yaml"


@dataclass(eq=False)
class VersioningFailed(DataError):
    """git or DVC could not record a dataset version."""

    reason: str
    kept: str = "The versions before it were kept; the new one is not complete."
    next_step: str = "run the same command again: it goes on where this one stopped"
    exit_code: ClassVar[int] = 27

    @property
    def summary(self) -> str:
        return f"The dataset could not be versioned: {self.reason}."


@dataclass(eq=False)
class DataVersionNotFound(DataError):
    """``known`` are the versions that there are, newest first."""

    dataset: str
    version: str
    known: tuple[str, ...] = ()
    kept: str = NOTHING_WRITTEN
    exit_code: ClassVar[int] = 28

    @property
    def summary(self) -> str:
        if not self.version:
            return f"There is no dataset '{self.dataset}'."
        shown = f" It has {', '.join(self.known[:5])}." if self.known else " It has none."
        return f"The dataset '{self.dataset}' has no version '{self.version}'.{shown}"

    @property
    def next_step(self) -> str:  # type: ignore[override]
        return f"agentloop data log {self.dataset}" if self.version else "agentloop data log"


@dataclass(eq=False)
class RemoteForbidden(DataError):
    """An address outside of what remote sources are allowed to reach."""

    address: str
    reason: str
    kept: str = NOTHING_WRITTEN
    next_step: str = "add the host to AGENTLOOP_REMOTE_SOURCES if it may be read"
    exit_code: ClassVar[int] = 29

    @property
    def summary(self) -> str:
        return f"{self.address} may not be reached: {self.reason}."


@dataclass(eq=False)
class QueryRefused(DataError):
    """A query that is not one plain SELECT."""

    source: str
    reason: str
    next_step: str = "write data.source.query as one SELECT"
    kept: str = NOTHING_WRITTEN
    exit_code: ClassVar[int] = 19

    @property
    def summary(self) -> str:
        return f"The query of {self.source} is refused: {self.reason}."
