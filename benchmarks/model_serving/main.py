"""Serving: speed beside its peers, the edge on real traffic, kills, the judge, hostile clients.

    ./bazelw run //benchmarks:serving -- [--quick] [--only PARTS] --json FILE

PARTS are of peers, edge, chaos, judge and hostile, with commas between. FILE gets ``rows`` and
``targets`` of what was measured, and is written after each part.
Peers are installed once, each in an environment of its own below ``--peers``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

# What all benchmarks measure with.
sys.path.append(str(Path(__file__).resolve().parents[1] / "measuring"))

from load import HOW_TO_GET, find_wrk
from targets import at_least

DIED = "ran to its end"
Found = tuple[list[dict[str, Any]], list[dict[str, Any]], Any]


def peers(options: argparse.Namespace) -> Found:
    from peers import Settings, run

    names = options.contestants
    if options.quick:
        settings = Settings(options.peers, 1, 1, 1, 2, quick=True, names=names)
    else:
        settings = Settings(options.peers, options.rounds, names=names)
    return run(settings)


def plain(name: str) -> Callable[[argparse.Namespace], Found]:
    """A part whose module has ``run(quick)``."""
    return lambda options: (*import_module(name).run(options.quick), None)


PARTS: dict[str, Callable[[argparse.Namespace], Found]] = {
    "peers": peers,
    "edge": plain("edge"),
    "chaos": plain("chaos"),
    "judge": plain("judge"),
    "hostile": plain("under_attack"),
}


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    rows: list[dict[str, Any]] = []
    targets: list[dict[str, Any]] = []
    raw: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    for name in options.only:
        began = time.monotonic()
        try:
            more, wanted, details = PARTS[name](options)
        except Exception as error:  # the other parts are still worth having
            traceback.print_exc()
            more, wanted, details = [], [died(name, error)], None
        rows += more
        targets += wanted
        seconds[name] = round(time.monotonic() - began, 1)
        if details:
            raw[name] = details
        write(options.json, rows, targets, raw, seconds)
    for row in rows:
        print("  ".join(str(value) for value in row.values()))
    for target in targets:
        verdict = "holds" if target["holds"] else "MISSED"
        wanted = f"{target['direction']} {target['target']} {target['unit']}".strip()
        print(f"{target['name']}: {target['value']}, {wanted}: {verdict}")
    return 1 if any(target["name"].endswith(DIED) for target in targets) else 0


def died(name: str, error: Exception) -> dict[str, Any]:
    """A part without figures is a target that was missed."""
    print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
    return at_least(f"{name}: {DIED}", 0, 1, "")


def write(
    path: Path,
    rows: list[dict[str, Any]],
    targets: list[dict[str, Any]],
    raw: dict[str, Any],
    seconds: dict[str, float],
) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    result = {
        "benchmark": "serving",
        "machine": {
            "cpus": os.cpu_count(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "memory_gb": round(memory / (1 << 30), 1),
        },
        "seconds": seconds,
        "rows": rows,
        "targets": targets,
        "raw": raw,
    }
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser = argparse.ArgumentParser(description="Measure serving.")
    parser.add_argument("--quick", action="store_true", help="fewer peers, rounds and requests")
    parser.add_argument("--json", type=Path, required=True, help="where the raw figures go")
    parser.add_argument("--only", type=parts, default=tuple(PARTS), help="parts, with commas")
    parser.add_argument(
        "--peers",
        type=Path,
        default=cache / "agentloop-benchmarks",
        help="keep the peers' environments here",
    )
    parser.add_argument("--rounds", type=int, default=3, help="of the peers, interleaved")
    parser.add_argument(
        "--contestants",
        type=lambda text: tuple(text.split(",")),
        default=(),
        help="only those whose name holds one of these",
    )
    options = parser.parse_args()
    if "peers" in options.only and find_wrk() is None:
        parser.error(HOW_TO_GET)
    return options


def parts(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(PARTS)}")
    return names


if __name__ == "__main__":
    raise SystemExit(main())
