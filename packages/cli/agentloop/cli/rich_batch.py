"""An ingested batch, for people."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agentloop.contracts import ColumnProfile, DataBatch

SHOWN_COLUMNS = 30
_COLOURS = {"warn": "yellow", "quarantine": "magenta", "reject": "red"}


def print_batch(batch: DataBatch, stream: TextIO) -> None:
    """What was accepted, what the checks remarked, and each column in a line."""
    console = Console(file=stream, highlight=False, soft_wrap=True)
    version = batch.version
    columns = len(version.schema.columns)
    console.print(f"{version.name} {version.version}: {version.rows:,} rows, {columns} columns")
    for finding in batch.validation.findings:
        colour = _COLOURS[finding.severity]
        console.print(Text.assemble((f"  {finding.severity:<10} ", colour), finding.message))
    console.print(_columns(batch))
    if columns > SHOWN_COLUMNS:
        console.print(f"  … and {columns - SHOWN_COLUMNS} more columns")
    console.print(f"  rows     {version.uri}")
    console.print(f"  profile  {Path(version.uri) / 'profile.html'}")


def _columns(batch: DataBatch) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=True)
    for head in ("column", "kind", "nulls", "distinct", "most frequent, or 1% … median … 99%"):
        table.add_column(head, justify="right" if head in ("nulls", "distinct") else "left")
    for column in batch.profile.columns[:SHOWN_COLUMNS]:
        nulls = f"{column.null_rate:.1%}" if column.nulls else ""
        table.add_row(
            Text(column.name), column.kind, nulls, f"{column.distinct:,}", Text(_values(column))
        )
    return table


def _values(column: ColumnProfile) -> str:
    if column.quantiles:
        return " … ".join(_shown(column, column.quantiles[p]) for p in ("0.01", "0.5", "0.99"))
    return ", ".join(text for text, _ in column.top[:4])


def _shown(column: ColumnProfile, value: float) -> str:
    """Times are profiled as seconds since 1970."""
    if column.kind != "datetime":
        return f"{value:.4g}"
    return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M")
