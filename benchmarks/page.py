"""Write docs/benchmarks.md from the raw figures in benchmarks/results.

./bazelw run //benchmarks:page
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
RESULTS = CHECKOUT / "benchmarks" / "results"
PAGE = CHECKOUT / "docs" / "benchmarks.md"

HEADER = """# Benchmarks

Made by `./bazelw run //benchmarks:page` from the raw figures in `benchmarks/results`. The machine
was shared and noisy: a ratio is a result, an absolute time is an impression.
"""


def page(results: list[dict[str, Any]]) -> str:
    """The whole page."""
    return "\n".join([HEADER, *(section(result) for result in results)])


def section(result: dict[str, Any]) -> str:
    """One benchmark: its targets, misses shown, then its rows."""
    machine = result["machine"]
    memory = f", {machine['memory_gb']:g} GB" if "memory_gb" in machine else ""
    lines = [
        f"## {result['benchmark']}",
        "",
        f"{machine['cpus']} CPUs{memory}, {machine['machine']}, Python {machine['python']}.",
        f"`./bazelw run //benchmarks:{result['benchmark']} -- --json FILE`",
        "",
        *target_table(result["targets"]),
    ]
    # Rows with the same columns belong in one table.
    for _, rows in groupby(result["rows"], key=tuple):
        lines += ["", *row_table(list(rows))]
    return "\n".join([*lines, ""])


def target_table(targets: list[dict[str, Any]]) -> list[str]:
    """A target is in seconds and an upper bound unless it says otherwise."""
    lines = ["| target | measured | wanted | |", "|---|---|---|---|"]
    for target in targets:
        verdict = "holds" if target["holds"] else "**missed**"
        unit = target.get("unit", "s")
        value, limit = (f"{cell(target[key])} {unit}".strip() for key in ("value", "target"))
        direction = target.get("direction", "at most")
        lines.append(f"| {target['name']} | {value} | {direction} {limit} | {verdict} |")
    return lines


def row_table(rows: list[dict[str, Any]]) -> list[str]:
    """``rows`` have the same keys, which become the headings: ``median_s`` is "median s"."""
    headings = [key.replace("_", " ") for key in rows[0]]
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    return lines + [f"| {' | '.join(map(cell, row.values()))} |" for row in rows]


def cell(value: Any) -> str:
    """Large whole numbers in groups of three; nothing for what was not measured."""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value).replace("|", "\\|")


def main() -> int:
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    PAGE.write_text(page(results), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(CHECKOUT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
