"""Load by wrk: one thread, keep-alive connections, one body."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HOW_TO_GET = "wrk is not on the PATH; on Debian: apt-get install wrk"
SCRIPT = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
file:close()
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\n{{"requests": %d, "us": %d, "p50_us": %d, "p99_us": %d, "bad": %d, "sockets": %d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.status, e.connect + e.read + e.write + e.timeout))
end
"""


class LoadFailed(Exception):
    """wrk could not run; the argument says why."""


@dataclass(frozen=True, slots=True)
class Load:
    """``errors`` are answers other than 2xx and 3xx, and broken connections."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def find_wrk() -> str | None:
    return shutil.which("wrk")


def load(url: str, body: bytes, connections: int, seconds: int, folder: Path) -> Load:
    """Raises LoadFailed."""
    wrk = find_wrk()
    if wrk is None:
        raise LoadFailed(HOW_TO_GET)
    content, script = folder / "body.json", folder / "load.lua"
    content.write_bytes(body)
    script.write_text(SCRIPT.format(body=content), encoding="utf-8")
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script)]
    done = subprocess.run(
        [*command, "--timeout", "10s", url], capture_output=True, text=True, check=False
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines or not lines[-1].startswith("{"):
        raise LoadFailed((done.stderr.strip() or "wrk said nothing")[-200:])
    told = json.loads(lines[-1])
    return Load(
        told["requests"],
        told["us"] / 1e6,
        told["p50_us"] / 1e3,
        told["p99_us"] / 1e3,
        told["bad"] + told["sockets"],
    )
