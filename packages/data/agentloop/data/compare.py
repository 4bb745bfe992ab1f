"""A batch against the dataset's last accepted one. Its remarks never reject."""

from __future__ import annotations

from collections.abc import Iterator

from agentloop.contracts.data import ColumnProfile, DataProfile, Finding

MAX_VOLUME_RATIO = 2.0
MAX_NULL_SHIFT = 0.1
MAX_MEDIAN_SHIFT = 0.5
MAX_SHARE_SHIFT = 0.2


def compare_profiles(profile: DataProfile, last: DataProfile) -> Iterator[Finding]:
    """Warnings on volume, null rates and distributions.

    A number column is told when its median moved by half an interquartile range, a category
    column when the total variation distance of its shares is above 0.2.
    """
    if last.rows and profile.rows:
        ratio = profile.rows / last.rows
        if not 1 / MAX_VOLUME_RATIO <= ratio <= MAX_VOLUME_RATIO:
            message = f"{profile.rows:,} rows, where the last batch had {last.rows:,}"
            yield Finding("volume", "warn", None, profile.rows, message)
    known = {column.name: column for column in last.columns}
    for column in profile.columns:
        if column.name in known:
            yield from _compare_column(column, known[column.name])


def _compare_column(now: ColumnProfile, then: ColumnProfile) -> Iterator[Finding]:
    shift = now.null_rate - then.null_rate
    if abs(shift) > MAX_NULL_SHIFT:
        message = (
            f"'{now.name}' has {now.null_rate:.0%} nulls, where the last batch had "
            f"{then.null_rate:.0%}"
        )
        yield Finding("null_rate", "warn", now.name, now.nulls, message)
    spread = then.quantiles.get("0.75", 0.0) - then.quantiles.get("0.25", 0.0)
    if spread > 0 and "0.5" in now.quantiles:
        moved = (now.quantiles["0.5"] - then.quantiles["0.5"]) / spread
        if abs(moved) > MAX_MEDIAN_SHIFT:
            message = (
                f"the median of '{now.name}' is {now.quantiles['0.5']:.4g}, where the last batch "
                f"had {then.quantiles['0.5']:.4g}: {abs(moved):.1f} interquartile ranges away"
            )
            yield Finding("distribution", "warn", now.name, now.count, message)
    elif now.kind == then.kind == "category" and now.count and then.count:
        distance = _share_distance(now, then)
        if distance > MAX_SHARE_SHIFT:
            message = f"the shares of '{now.name}' moved by {distance:.0%} since the last batch"
            yield Finding("distribution", "warn", now.name, now.count, message)


def _share_distance(now: ColumnProfile, then: ColumnProfile) -> float:
    """Total variation distance, in [0, 1], over the values that both profiles list."""
    p = {text: count / now.count for text, count in now.top}
    q = {text: count / then.count for text, count in then.top}
    listed = sum(abs(p.get(text, 0.0) - q.get(text, 0.0)) for text in {*p, *q})
    rest = abs((1 - sum(p.values())) - (1 - sum(q.values())))
    return (listed + rest) / 2
