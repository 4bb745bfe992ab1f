"""Run competitors one after another and keep what is known in the result file."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accuracy import accuracy_rows
from competitors import BLOCK_CHECKS, Competitor
from environments import NotInstalled, python_of
from generate import make_rows
from measure import Measured, measure
from summary import OURS, ingest_rows, targets

HERE = Path(__file__).resolve().parent
TOLD = ("seconds", "cpu_s", "peak_mb", "idle_mb")


@dataclass(frozen=True, slots=True)
class Settings:
    """``folder`` takes rows, environments and work; a single run may take ``limit_s``."""

    folder: Path
    result: Path
    seed: int
    scattered: bool
    limit_s: float


class Runner:
    """Collects runs; the result file always holds all that ended."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._runs: list[dict[str, Any]] = []
        self._blocks: list[dict[str, Any]] = []
        self._accuracy: list[dict[str, Any]] = []
        self._profiles: dict[int, dict[str, Any]] = {}

    def ingest(self, who: Competitor, size: int, round_number: int) -> None:
        measured = self._measure(who, size)
        run = {"size": size, "who": who.title, "round": round_number, **_told(measured)}
        rows = measured.result.get("rows", size)
        if not run["error"] and rows != size:
            run["error"] = f"kept {rows:,} rows"
        self._runs.append(run)
        if who.title == OURS and "profile" in measured.result:
            self._profiles[size] = measured.result["profile"]
        told = run["error"] or f"{run['seconds']} s, {run['peak_mb']} MB {run['stages']}"
        print(f"{size:>11,} {who.title:36} {told}", file=sys.stderr)
        self._write()

    def blocks(self, size: int) -> None:
        """What one block's check costs, ours and pandera's."""
        for who in BLOCK_CHECKS:
            measured = self._measure(who, size)
            found = measured.result
            self._blocks.append(
                {
                    "block_check": who.title,
                    "check_cpu_s_per_million_rows": found.get("check_s"),
                    "conversion_cpu_s_per_million_rows": found.get("convert_s"),
                    "note": measured.error,
                }
            )
            print(f"block check {self._blocks[-1]}", file=sys.stderr)
        self._write()

    def accuracy(self, size: int) -> None:
        """Hold the profile of the last run of this size against exact figures."""
        if size in self._profiles:
            self._accuracy = accuracy_rows(self._rows(size), self._profiles[size])
            self._write()

    def print_targets(self) -> None:
        for target in targets(ingest_rows(self._runs), self._accuracy):
            verdict = "holds" if target["holds"] else "MISSED"
            wanted = f"{target['direction']} {target['target']} {target['unit']}".strip()
            print(f"{target['name']}: {target['value']}, {wanted}: {verdict}")

    def _measure(self, who: Competitor, size: int) -> Measured:
        work = self._settings.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            python = python_of(who.environment, self._settings.folder)
            command = [python, str(HERE / who.script), str(self._rows(size)), str(work), who.option]
            return measure(command, _environment(), work / "log", self._settings.limit_s)
        except NotInstalled as error:
            return Measured(error=f"not installed: {error}")
        finally:
            _clear(work)

    def _rows(self, size: int) -> Path:
        settings = self._settings
        return make_rows(settings.folder, size, settings.seed, settings.scattered)

    def _write(self) -> None:
        rows = ingest_rows(self._runs)
        result = {
            "benchmark": "data",
            "machine": _machine(),
            "rows": [*rows, *self._blocks, *self._accuracy],
            "targets": targets(rows, self._accuracy),
            "raw": self._runs,
        }
        partial = self._settings.result.with_suffix(".partial")
        partial.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        partial.replace(self._settings.result)


def _told(measured: Measured) -> dict[str, Any]:
    timings = measured.result.get("timings") or {}
    peak, idle, cpu = measured.peak_mb, measured.idle_mb, measured.cpu_s
    return {
        **{name: getattr(measured, name) for name in TOLD},
        "beyond_idle_mb": round(peak - idle, 1) if peak is not None and idle is not None else None,
        "profile_share": round(timings["profile"] / cpu, 4) if timings and cpu else None,
        "timings": timings,
        "stages": measured.stages,
        "error": measured.error,
    }


def _environment() -> dict[str, str]:
    """What every competitor runs with. Thread counts are their own affair."""
    dropped = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "RAY_ADDRESS")
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    return {**kept, "RAY_USAGE_STATS_ENABLED": "0", "DVC_NO_ANALYTICS": "1"}


def _clear(work: Path) -> None:
    pointer = work / "ray-folder"
    if pointer.exists():
        shutil.rmtree(pointer.read_text(encoding="utf-8"), ignore_errors=True)
    shutil.rmtree(work, ignore_errors=True)


def _machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": sys.version[:6],
        "memory_gb": round(memory / (1 << 30), 1),
    }
