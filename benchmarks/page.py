"""Write docs/benchmarks.md from the raw figures in benchmarks/results.

./bazelw run //benchmarks:page
"""

from __future__ import annotations

import json
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
    lines = [
        f"## {result['benchmark']}",
        "",
        f"{machine['cpus']} CPUs, {machine['machine']}, Python {machine['python']}.",
        f"`./bazelw run //benchmarks:{result['benchmark']} -- --json FILE`",
        "",
        "| target | measured | at most | |",
        "|---|---|---|---|",
    ]
    for target in result["targets"]:
        verdict = "holds" if target["holds"] else "**missed**"
        lines.append(
            f"| {target['name']} | {target['value']} s | {target['target']} s | {verdict} |"
        )
    lines += [
        "",
        "| scenario | stage | median s | min | max | rounds |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        cells = (row[k] for k in ("scenario", "stage", "median_s", "min_s", "max_s", "rounds"))
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join([*lines, ""])


def main() -> int:
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    PAGE.write_text(page(results), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(CHECKOUT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
