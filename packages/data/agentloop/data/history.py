"""What was accepted, in order: a log of which ``latest.json`` says how much counts.

versions/<name>/log.jsonl    one line an acceptance, appended
versions/<name>/latest.json  {"version", "log_bytes"}: replaced whole, last; a line past its
                             ``log_bytes`` was never accepted, and goes
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentloop.contracts.codec import canonical_json, from_dict, to_dict
from agentloop.contracts.errors import DataVersionNotFound
from agentloop.data.files import write_atomically

_BACK = re.compile(r"latest(?:~(\d{1,9}))?")


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A version as it was accepted. ``parent`` is the one accepted before it, if that was another;
    ``size_bytes`` that of its rows' files."""

    dataset: str
    version: str
    accepted_at: str
    rows: int
    columns: int
    size_bytes: int
    revision: str
    source: str = ""
    parent: str = ""
    batch_id: str = ""
    latest_time: str = ""


class VersionLog:
    """The acceptances in ``folder``. The caller of ``append`` holds the lock of the data folder."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "log.jsonl"
        self._latest = folder / "latest.json"

    def latest(self) -> str:
        """The version accepted last; empty if there is none."""
        version: str = self._pointer().get("version", "")
        return version

    def read(self) -> tuple[Acceptance, ...]:
        """Oldest first."""
        size = self._pointer().get("log_bytes", 0)
        if not size:
            return ()
        with self._log.open("rb") as file:
            lines = file.read(size).splitlines()
        return tuple(from_dict(Acceptance, json.loads(line)) for line in lines)

    def append(self, accepted: Acceptance) -> None:
        """Accept, unless the last acceptance was of the same version and batch: then a retry."""
        size = self._pointer().get("log_bytes", 0)
        last = self.read()[-1:]
        if last and (last[0].version, last[0].batch_id) == (accepted.version, accepted.batch_id):
            return
        line = canonical_json(to_dict(accepted)).encode() + b"\n"
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT, 0o644)
        with open(descriptor, "wb") as file:
            file.truncate(size)
            file.seek(size)
            file.write(line)
            file.flush()
            os.fsync(descriptor)
        pointer = {"version": accepted.version, "log_bytes": size + len(line)}
        write_atomically(self._latest, canonical_json(pointer))

    def _pointer(self) -> dict[str, Any]:
        try:
            pointer: dict[str, Any] = json.loads(self._latest.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        return pointer


def datasets(data_dir: Path) -> tuple[str, ...]:
    """The names of those with an accepted version, sorted."""
    return tuple(sorted(path.parent.name for path in data_dir.glob("versions/*/latest.json")))


def distinct(log: Sequence[Acceptance]) -> tuple[str, ...]:
    """The versions, each once, by their last acceptance, newest first."""
    return tuple(dict.fromkeys(accepted.version for accepted in reversed(log)))


def resolve(dataset: str, reference: str, log: Sequence[Acceptance]) -> str:
    """The version that is meant: the beginning of one, ``latest``, or ``latest~2`` for the second
    different one before it.

    Raises DataVersionNotFound, the nearest versions first, if there is none or there are several.
    """
    known = distinct(log)
    if not known:
        raise DataVersionNotFound(dataset, "")
    if back := _BACK.fullmatch(reference):
        steps = int(back[1] or 0)
        if steps < len(known):
            return known[steps]
        raise DataVersionNotFound(dataset, reference, known)
    fitting = [version for version in known if reference and version.startswith(reference)]
    if len(fitting) == 1:
        return fitting[0]
    near = fitting or difflib.get_close_matches(reference, known, n=len(known), cutoff=0.4)
    raise DataVersionNotFound(dataset, reference or "''", tuple(dict.fromkeys((*near, *known))))
