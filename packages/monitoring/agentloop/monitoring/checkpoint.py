"""A model's watches as a JSON file, replaced atomically, so that a restart goes on counting.

The file survives the death of the process. It is not forced to disk at each flush: after a power
cut the counters may go back some seconds.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.codec import canonical_json, from_dict, to_dict
from agentloop.contracts.errors import MonitoringError
from agentloop.contracts.monitoring import DriftReport
from agentloop.contracts.spec import MonitoringSpec
from agentloop.lifecycle.reference import ReferenceProfile
from agentloop.monitoring.counts import LatencyCounts
from agentloop.monitoring.detector import DetectorState
from agentloop.monitoring.watch import VersionWatch, WatchState

FORMAT = 1
MAX_LOG_BYTES = 10_000_000


def write_watches(path: Path, watches: Iterable[VersionWatch]) -> None:
    """Replace ``path`` by the state of ``watches``. Raises OSError and keeps the old file."""
    body = canonical_json({"format": FORMAT, "versions": [_watch_dict(w) for w in watches]})
    write_atomically(path, body)


def read_watches(path: Path) -> tuple[VersionWatch, ...]:
    """The watches in ``path``; none where there is no file. Raises MonitoringError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["format"] != FORMAT:
            raise ValueError(f"format {value['format']}")
        return tuple(_watch(entry) for entry in value["versions"])
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{path.name} cannot be read ({str(error).splitlines()[0]})"
        raise MonitoringError(reason, next_step=f"move {path} away, then run again") from None


def write_atomically(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def append_line(path: Path, noun: Any) -> None:
    """Append a noun as one JSON line; past 10 MB the file becomes ``<name>.1``, replacing it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        os.replace(path, path.with_name(f"{path.name}.1"))
    with path.open("a", encoding="utf-8") as file:
        file.write(canonical_json(to_dict(noun)) + "\n")


def _watch_dict(watch: VersionWatch) -> dict[str, Any]:
    state = watch.state
    detector = state.detector
    return {
        "model": watch.model,
        "version": watch.version,
        "spec": watch.spec.model_dump(mode="json"),
        "profile": watch.profile.as_dict(),
        "detector": {
            # float32 keeps 7 digits of a log: far finer than what an alarm hangs on.
            "log_wealth": _pack(detector.log_wealth.astype("<f4")),
            "blocks": detector.blocks,
            "rows": detector.rows,
            "calm_rows": detector.calm_rows,
            "alarm": detector.alarm,
            "delay": detector.delay,
        },
        "block": _pack(state.block.astype("<i8")),
        "window": _pack(state.window.astype("<i8")),
        "earlier": _pack(state.earlier.astype("<i8")),
        "answered": state.answered,
        "requests": [[e, s, n] for (e, s), n in state.requests.items()],
        "latencies": [[e, list(c.buckets), c.seconds] for e, c in state.latencies.items()],
        "sequences": list(state.sequences.items()),
        "accuracy": state.accuracy,
        "labelled": list(state.labelled),
        "report": to_dict(state.report) if state.report else None,
    }


def _watch(value: dict[str, Any]) -> VersionWatch:
    detector = dict(value["detector"])
    log_wealth = _unpack(detector.pop("log_wealth"), "<f4").astype(np.float64)
    state = WatchState(
        detector=DetectorState(log_wealth, **detector),
        block=_unpack(value["block"], "<i8").astype(np.int64),
        window=_unpack(value["window"], "<i8").astype(np.int64),
        earlier=_unpack(value["earlier"], "<i8").astype(np.int64),
        answered=value["answered"],
        requests={(e, s): n for e, s, n in value["requests"]},
        latencies={e: LatencyCounts(tuple(b), t) for e, b, t in value["latencies"]},
        sequences=dict(value["sequences"]),
        accuracy=value["accuracy"],
        labelled=(value["labelled"][0], value["labelled"][1]),
        report=from_dict(DriftReport, value["report"]) if value["report"] else None,
    )
    return VersionWatch(
        value["model"],
        value["version"],
        from_dict(ReferenceProfile, value["profile"]),
        MonitoringSpec.model_validate(value["spec"]),
        state,
    )


def _pack(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _unpack(text: str, dtype: str) -> npt.NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), dtype)
