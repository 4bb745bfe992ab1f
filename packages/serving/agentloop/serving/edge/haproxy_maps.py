"""Maps that HAProxy looks things up in: files that it reads as it starts, then its own memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from agentloop.contracts.errors import ClusterError
from agentloop.serving.edge.guards import write_private

# HAProxy reads a command line of 16 KB at most; answers are empty lines unless something is wrong.
COMMANDS_AT_ONCE = 50


class HaproxyMaps:
    """The maps of ``folder``. ``command`` asks the admin socket."""

    def __init__(self, folder: Path, command: Callable[[str], str]) -> None:
        self._folder = folder
        self._command = command
        self._known: dict[str, Mapping[str, str]] = {}

    def write(self, name: str, entries: Mapping[str, str]) -> None:
        """The file, for a process that is about to start."""
        lines = "".join(f"{key} {value}\n" for key, value in sorted(entries.items()))
        write_private(self._folder / name, lines.encode())
        self._known[name] = dict(entries)

    def follow(self, name: str, entries: Mapping[str, str]) -> None:
        """Have the running process and the next use ``entries``. Raises ClusterError, OSError;
        the next call then tries again."""
        known = self._known.get(name)
        if entries == known:
            return
        path = self._folder / name
        commands = [f"clear map {path}"] if known is None else []
        known = known or {}
        commands += [f"del map {path} {key}" for key in known if key not in entries]
        commands += [
            f"{'set' if key in known else 'add'} map {path} {key} {value}"
            for key, value in entries.items()
            if known.get(key) != value
        ]
        for start in range(0, len(commands), COMMANDS_AT_ONCE):
            self._known.pop(name, None)  # unknown until all of them were taken
            answer = self._command("; ".join(commands[start : start + COMMANDS_AT_ONCE]))
            if answer.strip():
                raise ClusterError(f"HAProxy refuses its map {name}: {answer.strip()[:200]}")
        self.write(name, entries)
