"""Times of rows as text and as numbers, for increments."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from agentloop.contracts.data import ColumnKind, DataSchema
from agentloop.contracts.errors import SourceUnreadable
from agentloop.data.sketch import Numbers, Summary

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso_time(schema: DataSchema, column: str | None, summaries: Mapping[str, Summary]) -> str:
    """The latest value of the time column, as ``parse_since`` reads it; empty without one."""
    if column is None or column not in schema.names:
        return ""
    summary = summaries[column]
    if not isinstance(summary, Numbers) or not summary.count:
        return ""
    if schema.column(column).kind != "datetime":
        return f"{summary.maximum:.17g}"
    latest = _EPOCH + timedelta(microseconds=round(summary.maximum * 1e6))
    return latest.replace(tzinfo=None).isoformat()


def parse_since(since: str, kind: ColumnKind, source: str) -> float:
    """Of a ``datetime`` column: microseconds since 1970 of an ISO 8601 time (UTC where it names no
    zone); of a number column: the number. Raises SourceUnreadable."""
    try:
        if kind != "datetime":
            return float(since)
        time = datetime.fromisoformat(since)
    except ValueError:
        wanted = "a time such as 2026-01-31T08:00:00" if kind == "datetime" else "a number"
        raise SourceUnreadable(
            source, f"since is '{since}', not {wanted}", next_step="mend it, or say last"
        ) from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return (time - _EPOCH) / timedelta(microseconds=1)
