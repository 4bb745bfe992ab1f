"""Training: what it costs beside plain torch, and how good the models are.

    ./bazelw run //benchmarks:training -- [--quick] [--only overhead,gpu,search,quality] --json FILE

FILE gets ``rows`` and ``targets`` of the parts that were measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

PARTS = ("overhead", "gpu", "search", "quality")


def main() -> int:
    options = arguments()
    rows: list[dict[str, Any]] = []
    targets: list[dict[str, Any]] = []
    for name in options.only:
        more, wanted = import_module(name).run(options.quick)
        rows += more
        targets += wanted
    result = {
        "benchmark": "training",
        "machine": {
            "cpus": os.cpu_count(),
            "machine": platform.machine(),
            "python": platform.python_version(),
        },
        "skipped": skipped(),
        "rows": rows,
        "targets": targets,
    }
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print("  ".join(str(value) for value in row.values()))
    for target in targets:
        verdict = "holds" if target["holds"] else "MISSED"
        wanted = f"{target['direction']} {target['target']} {target['unit']}".strip()
        print(f"{target['name']}: {target['value']}, {wanted}: {verdict}")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure training.")
    parser.add_argument("--quick", action="store_true", help="less data, fewer rounds")
    parser.add_argument("--json", type=Path, required=True, help="where the raw figures go")
    parser.add_argument("--only", type=parts, default=PARTS, help="parts, with commas between")
    return parser.parse_args()


def parts(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(PARTS)}")
    return names


def skipped() -> list[str]:
    """What this machine can not tell."""
    import torch

    if torch.cuda.is_available():
        return []
    print("no GPU: its utilisation was not measured", file=sys.stderr)
    return ["GPU utilisation: this machine has none"]


if __name__ == "__main__":
    raise SystemExit(main())
