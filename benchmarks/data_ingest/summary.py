"""From single runs to rows of medians, and from rows to targets."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

OURS = "agentloop"
PANDAS = ("pandas + pandera", "pandas (pyarrow engine) + pandera")
FROM_ROWS = 1_000_000
MAX_PEAK_GB, MAX_GROWTH, MAX_COST_GROWTH, MAX_PROFILE = 3.0, 1.3, 1.2, 0.3
MAX_RANK_ERROR, MAX_DISTINCT_ERROR = 0.01, 0.03

Run = dict[str, Any]
Row = dict[str, Any]


def ingest_rows(runs: list[Run]) -> list[Row]:
    """One row a size and competitor, medians over the rounds that ended well."""
    keys = dict.fromkeys((run["size"], run["who"]) for run in runs)
    rows = [_ingest_row(size, who, runs) for size, who in keys]
    ours = {row["size"]: row["seconds"] for row in rows if row["who"] == OURS}
    for row in rows:
        own = ours.get(row["size"])
        row["times_ours"] = round(row["seconds"] / own, 2) if own and row["seconds"] else None
        row["note"] = row.pop("note")  # the last column
    return rows


def _ingest_row(size: int, who: str, runs: list[Run]) -> Row:
    mine = [run for run in runs if (run["size"], run["who"]) == (size, who)]
    good = [run for run in mine if not run["error"]]
    seconds = _median(good, "seconds", 3)
    return {
        "size": size,
        "who": who,
        "seconds": seconds,
        "rows_per_s": round(size / seconds) if seconds else None,
        "cpu_s": _median(good, "cpu_s", 2),
        "peak_mb": _median(good, "peak_mb", 0),
        "idle_mb": _median(good, "idle_mb", 0),
        "beyond_idle_mb": _median(good, "beyond_idle_mb", 0),
        "profile_share": _median(good, "profile_share", 3),
        "rounds": len(good),
        "note": next((run["error"] for run in mine if run["error"]), ""),
    }


def _median(runs: list[Run], key: str, digits: int) -> float | None:
    values = [run[key] for run in runs if run.get(key) is not None]
    return round(statistics.median(values), digits or None) if values else None


def targets(rows: list[Row], accuracy: list[Row]) -> list[dict[str, Any]]:
    """What the runs so far can tell; a competitor that did not end is no target."""
    found = {(row["size"], row["who"]): row for row in rows if row["seconds"]}
    sizes = sorted({size for size, who in found if who == OURS})
    large = [size for size in sizes if size >= FROM_ROWS]
    return [
        *_faster(found, large),
        *(_memory(found[size, OURS]) for size in sizes),
        *(_growth(found[large[0], OURS], found[large[-1], OURS]) if len(large) > 1 else ()),
        *_profile([found[size, OURS] for size in sizes]),
        *_accuracy(accuracy),
    ]


def _faster(found: dict[tuple[int, str], Row], sizes: list[int]) -> Iterator[dict[str, Any]]:
    for size in sizes:
        for peer in PANDAS:
            if (size, peer) in found:
                ratio = found[size, peer]["seconds"] / found[size, OURS]["seconds"]
                yield _at_least(f"seconds of {peer} / ours, {size:,} rows", ratio, 1.0, "times")


def _memory(row: Row) -> dict[str, Any]:
    name = f"peak memory beyond idle, {row['size']:,} rows"
    return _at_most(name, row["beyond_idle_mb"] / 1024, MAX_PEAK_GB, "GB")


def _growth(first: Row, last: Row) -> Iterator[dict[str, Any]]:
    sizes = f"{last['size']:,} rows / {first['size']:,} rows"
    memory = last["beyond_idle_mb"] / max(first["beyond_idle_mb"], 1)
    yield _at_most(f"peak memory, {sizes}", memory, MAX_GROWTH, "times")
    cost = first["rows_per_s"] / last["rows_per_s"]
    yield _at_most(f"seconds per row, {sizes}", cost, MAX_COST_GROWTH, "times")


def _profile(rows: list[Row]) -> Iterator[dict[str, Any]]:
    for row in rows:
        if row["profile_share"] is not None:
            name = f"profile's share of the ingest's CPU, {row['size']:,} rows"
            yield _at_most(name, row["profile_share"], MAX_PROFILE, "")


def _accuracy(rows: list[Row]) -> Iterator[dict[str, Any]]:
    if not rows:
        return
    ranks = max(row["rank_error"] for row in rows if row["rank_error"] is not None)
    yield _at_most("rank error of quantiles, worst column", ranks, MAX_RANK_ERROR, "")
    distinct = max(row["distinct_error"] for row in rows)
    yield _at_most("error of distinct counts, worst column", distinct, MAX_DISTINCT_ERROR, "")
    yield _at_most("counts that are off, all columns", sum(r["counts_off"] for r in rows), 0, "")


def _at_most(name: str, value: float, target: float, unit: str) -> dict[str, Any]:
    return _target(name, value, target, unit, "at most", value <= target)


def _at_least(name: str, value: float, target: float, unit: str) -> dict[str, Any]:
    return _target(name, value, target, unit, "at least", value >= target)


def _target(
    name: str, value: float, target: float, unit: str, direction: str, holds: bool
) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 4),
        "target": target,
        "unit": unit,
        "direction": direction,
        "holds": bool(holds),
    }
