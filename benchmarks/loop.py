"""How long a run of the loop takes: no cluster, a new version with the cluster up, unchanged.

    ./bazelw run //benchmarks:loop -- [--quick] --json FILE

Every run is the command line in a process of its own, as a user starts it, in a state folder of its
own. FILE gets ``rows`` (one a scenario and stage: median, minimum and maximum seconds) and
``targets``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
EXAMPLE = CHECKOUT / "examples" / "breast_cancer"
ROUNDS, QUICK_ROUNDS = 5, 2
TARGETS = {"cold": 45.0, "force": 25.0, "unchanged": 5.0}
TITLES = {
    "cold": "first run, no cluster up",
    "force": "new version (--force), cluster up",
    "unchanged": "unchanged run, cluster up",
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Time the loop's stages.")
    parser.add_argument("--quick", action="store_true", help="two rounds instead of five")
    parser.add_argument("--json", type=Path, required=True, help="where the raw figures go")
    options = parser.parse_args()
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in TARGETS}
    for round_number in range(QUICK_ROUNDS if options.quick else ROUNDS):
        print(f"round {round_number + 1}", file=sys.stderr)
        for name, seconds in one_round().items():
            samples[name].append(seconds)
    result = summary(samples)
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for row in result["rows"]:
        print(f"{row['scenario']:10} {row['stage']:9} {row['median_s']:7.2f} s")
    for target in result["targets"]:
        verdict = "holds" if target["holds"] else "MISSED"
        print(f"{target['name']}: {target['value']} s, at most {target['target']} s: {verdict}")
    return 0


def one_round() -> dict[str, dict[str, float]]:
    """Seconds of each stage, and in all, a scenario; leaves nothing running."""
    folder = Path(tempfile.mkdtemp(prefix="al-bench-"))
    spec = folder / "loop.yaml"
    text = (EXAMPLE / "loop.yaml").read_text(encoding="utf-8")
    text = text.replace("monitoring:\n", "monitoring:\n  port: 0\n")
    spec.write_text(f"{text}\nserving: {{port: 0}}\n", encoding="utf-8")
    shutil.copy(EXAMPLE / "source.py", folder)
    try:
        return {
            "cold": run(folder, spec),
            "force": run(folder, spec, "--force"),
            "unchanged": run(folder, spec),
        }
    finally:
        agentloop(folder, "down")
        shutil.rmtree(folder, ignore_errors=True)


def run(folder: Path, spec: Path, *options: str) -> dict[str, float]:
    began = time.monotonic()
    receipt = json.loads(agentloop(folder, "run", str(spec), *options, "--json"))
    total = time.monotonic() - began
    return {**{s["name"]: s["seconds"] for s in receipt["stages"]}, "total": total}


def agentloop(folder: Path, *arguments: str) -> str:
    dropped = ("PYTHONDONTWRITEBYTECODE", "RAY_ADDRESS")
    environment = {k: v for k, v in os.environ.items() if k not in dropped}
    environment["AGENTLOOP_HOME"] = str(folder / "home")
    command = [str(CHECKOUT / "agentloop"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


def summary(samples: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians over the rounds; the raw samples are kept beside them."""
    rows, targets = [], []
    for scenario, rounds in samples.items():
        for stage in rounds[0]:
            values = [seconds[stage] for seconds in rounds]
            rows.append(
                {
                    "scenario": scenario,
                    "stage": stage,
                    "median_s": round(statistics.median(values), 3),
                    "min_s": round(min(values), 3),
                    "max_s": round(max(values), 3),
                    "rounds": len(values),
                }
            )
        total = statistics.median(seconds["total"] for seconds in rounds)
        limit = TARGETS[scenario]
        targets.append(
            {
                "name": TITLES[scenario],
                "value": round(total, 2),
                "target": limit,
                "holds": total <= limit,
            }
        )
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": sys.version[:6]}
    return {
        "benchmark": "loop",
        "machine": machine,
        "rows": rows,
        "targets": targets,
        "raw": samples,
    }


if __name__ == "__main__":
    raise SystemExit(main())
