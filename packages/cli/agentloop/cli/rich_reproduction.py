"""A version beside its repetition, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from agentloop.training.reproduction import Reproduction

WIDE, HASH = 160, 64
SHOWN = 16


def print_reproduction(found: Reproduction, stream: TextIO) -> None:
    """One row for each thing compared, and the verdict."""
    console = Console(file=stream, highlight=False, width=None if stream.isatty() else WIDE)
    table = Table(title=f"{found.model} {found.version}", title_justify="left")
    for column in ("", "recorded", "now", "same"):
        table.add_column(column)
    for row in found.compared:
        mark = ("yes", "green") if row.same else ("no", "red" if row.binding else "yellow")
        table.add_row(row.what, _short(row.recorded), _short(row.found), Text(*mark))
    console.print(table)
    verdict = "identical" if found.identical else "not identical"
    console.print(
        f"{verdict}; largest difference of a metric {found.max_difference:.3g}; "
        f"fitted again in {found.seconds:.1f} s"
    )


def _short(value: str) -> str:
    return f"{value[:SHOWN]}…" if len(value) == HASH else value
