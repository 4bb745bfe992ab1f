"""The counts of all processes of all versions, as their messages come in. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from agentloop.contracts.traffic import VersionEvidence
from agentloop.serving.judging.counts import EvidenceMessage, since, total

# Beyond these, the process that was heard of longest ago is added to those that are gone.
MOST_PROCESSES = 256
MOST_VERSIONS = 1024


@dataclass(slots=True)
class _Version:
    base: dict[str, VersionEvidence] = field(default_factory=dict)
    latest: OrderedDict[str, EvidenceMessage] = field(default_factory=OrderedDict)
    gone: VersionEvidence = field(default_factory=VersionEvidence)


class EvidenceTable:
    """Sums the newest message of each process. What a process had counted before this table was
    told of it is left out, so that a table that starts anew does not count it a second time."""

    def __init__(self) -> None:
        self._versions: OrderedDict[tuple[str, str], _Version] = OrderedDict()

    def take(self, message: EvidenceMessage) -> None:
        """An older message than the newest known changes nothing."""
        version = self._version(message.model, message.version)
        known = version.latest.get(message.process)
        if known is not None and known.sequence >= message.sequence:
            return
        if known is None and message.sequence > 1:
            version.base[message.process] = message.counts
        version.latest[message.process] = message
        version.latest.move_to_end(message.process)
        while len(version.latest) > MOST_PROCESSES:
            process, oldest = version.latest.popitem(last=False)
            version.gone = total([version.gone, _counted(oldest, version.base.pop(process, None))])

    def of(self, model: str) -> dict[str, VersionEvidence]:
        """What the processes of each version of ``model`` have counted together."""
        return {
            version: total(
                [
                    found.gone,
                    *(_counted(m, found.base.get(process)) for process, m in found.latest.items()),
                ]
            )
            for (name, version), found in self._versions.items()
            if name == model
        }

    def _version(self, model: str, version: str) -> _Version:
        key = model, version
        if key not in self._versions:
            self._versions[key] = _Version()
        self._versions.move_to_end(key)
        while len(self._versions) > MOST_VERSIONS:
            self._versions.popitem(last=False)
        return self._versions[key]


def _counted(message: EvidenceMessage, base: VersionEvidence | None) -> VersionEvidence:
    if base is None:
        return message.counts
    return since(message.counts, base) or message.counts
