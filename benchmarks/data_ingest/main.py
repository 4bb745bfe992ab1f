"""Ingest of 0.1 to 30 million rows: this project against pandas + pandera, polars and DuckDB.

    ./bazelw run //benchmarks:data -- [--quick] --json FILE

Every competitor reads the same CSV files in a process of its own, checks and profiles them, writes
Parquet and versions it with DVC. Clocks start after imports, and for us once Ray is up. FILE is
written after every run, so that a run that is stopped keeps what it had. The full run takes hours
and up to 20 GB of disk below ``--folder``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

# What all benchmarks measure with.
sys.path.append(str(Path(__file__).resolve().parents[1] / "measuring"))

from competitors import COMPETITORS
from runner import Runner, Settings
from summary import OURS

SIZES, ROUNDS = (100_000, 1_000_000, 10_000_000, 30_000_000), (5, 3, 1, 1)
QUICK_SIZES, QUICK_ROUNDS = (100_000, 1_000_000), (1, 1)
ACCURACY_ROWS = 1_000_000


def main() -> int:
    options = arguments()
    quick = options.quick
    sizes = options.sizes or (QUICK_SIZES if quick else SIZES)
    rounds = options.rounds or (QUICK_ROUNDS if quick else ROUNDS)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="al-data-"))
    settings = Settings(
        folder.resolve(), options.json.resolve(), options.seed, options.scattered, options.limit
    )
    runner = Runner(settings)
    # So that the worker of the moment is ended and the folder cleared.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        for number, size in enumerate(sizes):
            for round_number in range(rounds[min(number, len(rounds) - 1)]):
                for name in rotated(options.peers, round_number):
                    runner.ingest(COMPETITORS[name], size, round_number)
            if size == min(max(sizes), ACCURACY_ROWS):
                runner.blocks(size)
                if OURS in options.peers:
                    runner.accuracy(size)
    finally:
        shutil.rmtree(folder / "work", ignore_errors=True)
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    runner.print_targets()
    return 0


def rotated(names: list[str], by: int) -> Iterator[str]:
    """Another one begins each round."""
    by %= len(names)
    yield from names[by:] + names[:by]


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.replace("_", "").split(","))


def names(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := [name for name in chosen if name not in COMPETITORS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(COMPETITORS)}")
    return chosen


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time ingest against pandas, polars and DuckDB.")
    parser.add_argument("--quick", action="store_true", help="100,000 and 1,000,000 rows, once")
    parser.add_argument("--json", type=Path, required=True, help="where the raw figures go")
    parser.add_argument("--sizes", type=numbers, help="rows, separated by commas")
    parser.add_argument("--rounds", type=numbers, help="of each size; the last goes for the rest")
    parser.add_argument(
        "--peers", type=names, default=list(COMPETITORS), help=f"of {', '.join(COMPETITORS)}"
    )
    parser.add_argument("--folder", type=Path, help="keep rows and environments here, for reuse")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scattered", action="store_true", help="identifiers in no order")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds a single run may take")
    options = parser.parse_args()
    if shutil.which("git") is None:
        parser.error("needs git")
    print(f"{os.cpu_count()} processors", file=sys.stderr)
    return options


if __name__ == "__main__":
    raise SystemExit(main())
