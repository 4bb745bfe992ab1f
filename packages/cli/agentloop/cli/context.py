"""What every command is given."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from agentloop.loop.home import StateFolder


@dataclass(frozen=True, slots=True)
class Context:
    """Parsed ``options``, the state folder, the environment at start, and the real stdout."""

    options: argparse.Namespace
    home: StateFolder
    environment: Mapping[str, str]
    result: TextIO

    def print(self, text: str) -> None:
        """A line of the result."""
        print(text, file=self.result, flush=True)

    def print_json(self, value: Any) -> None:
        self.print(json.dumps(value, indent=2, default=str))
