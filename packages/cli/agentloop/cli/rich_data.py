"""Tables of dataset versions, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table

from agentloop.data.history import Acceptance
from agentloop.data.version_diff import ColumnDiff, VersionDiff

# Where the result is piped there is no width to keep to.
PIPED_WIDTH = 240
MAX_COLUMNS = 40
_UNITS = ("B", "kB", "MB", "GB", "TB")


def print_log(log: Sequence[Acceptance], stream: TextIO, *, with_dataset: bool) -> None:
    """One line an acceptance."""
    table = _table(*(["dataset"] if with_dataset else []), "version", "accepted")
    for head in ("rows", "columns", "size"):
        table.add_column(head, justify="right", no_wrap=True)
    for head in ("parent", "batch", "source"):
        table.add_column(head, no_wrap=True, overflow="ellipsis")
    for accepted in log:
        table.add_row(
            *([accepted.dataset] if with_dataset else []),
            accepted.version,
            accepted.accepted_at[:19].replace("T", " "),
            f"{accepted.rows:,}",
            f"{accepted.columns:,}",
            size_text(accepted.size_bytes),
            accepted.parent[:7] or "-",
            accepted.batch_id or "-",
            accepted.source or "-",
        )
    _console(stream).print(table)


def print_diff(diff: VersionDiff, stream: TextIO) -> None:
    """What changed in words, then the figures of the columns that changed most."""
    console = _console(stream)
    console.print(f"{diff.dataset}  {diff.before} → {diff.after}")
    for words in diff.words:
        console.print(f"- {words}", markup=False, soft_wrap=True)
    changed = [column for column in diff.columns if column.change > 0]
    if not changed or diff.before == diff.after:
        return
    table = _table("column", "kind")
    for head in ("nulls", "distinct", "mean", "median", "moved", "JS distance"):
        table.add_column(head, justify="right", no_wrap=True)
    for column in changed[:MAX_COLUMNS]:
        table.add_row(*_cells(column))
    console.print()
    console.print(table)
    if len(changed) > MAX_COLUMNS:
        console.print(f"and {len(changed) - MAX_COLUMNS} columns that changed less (--json)")


def size_text(size_bytes: float) -> str:
    """``1.2 MB``, in powers of 1000."""
    for unit in _UNITS:
        if size_bytes < 1000 or unit == _UNITS[-1]:
            break
        size_bytes /= 1000
    return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"


def _cells(column: ColumnDiff) -> tuple[str, ...]:
    variation, distance = column.total_variation, column.jensen_shannon
    return (
        column.name,
        column.kind,
        _change(*(f"{rate:.1%}" for rate in column.null_rate)),
        _change(*(f"{count:,}" for count in column.distinct)),
        _change(*(f"{mean:.4g}" for mean in column.mean or ())),
        _change(*(f"{median:.4g}" for median in column.median or ())),
        "" if variation is None else f"{variation:.1%}",
        "" if distance is None else f"{distance:.3f}",
    )


def _change(before: str = "", after: str = "") -> str:
    return before if before == after else f"{before} → {after}"


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in heads:
        table.add_column(head, no_wrap=True)
    return table


def _console(stream: TextIO) -> Console:
    width = None if stream.isatty() else PIPED_WIDTH
    return Console(file=stream, highlight=False, markup=False, width=width)
