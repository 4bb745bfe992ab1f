"""The environment that a Ray node must start with for Serve to be fast and to stay on loopback.

Serve's own HAProxy binds its metrics and statistics on all interfaces, and shares its files in
/tmp with every other Serve of the machine. The binary can be named by an environment variable; the
wrapper written here rewrites those two ``bind`` lines and then becomes the real binary.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from agentloop.serving.edge.haproxy_process import binary, free_port
from agentloop.serving.run_folder import open_run_dir

_WRAPPER = r"""#!/bin/sh
previous=
for argument; do
  if [ "$previous" = -f ]; then
    sed -i -e 's/^\( *bind \):\([0-9]\)/\1127.0.0.1:\2/' -e 's/^\( *bind \)\*:/\1127.0.0.1:/' \
      "$argument"
  fi
  previous=$argument
done
exec '@BINARY@' "$@"
"""


def serve_environment(home: Path) -> Mapping[str, str]:
    """Variables for ``ray start`` (and for the driver) of the cluster of ``home``.

    Writes the wrapper into the run folder of ``home``; picks free ports a call.
    """
    folder = open_run_dir(home) / "s"
    folder.mkdir(exist_ok=True, mode=0o700)
    wrapper = folder / "haproxy"
    wrapper.write_text(_WRAPPER.replace("@BINARY@", binary()), encoding="utf-8")
    wrapper.chmod(0o700)
    prefix = "RAY_SERVE_HAPROXY"
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        f"{prefix}_BINARY_PATH": str(wrapper),
        f"{prefix}_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        f"{prefix}_SOCKET_PATH": str(folder / "admin.sock"),
        f"{prefix}_SERVER_STATE_BASE": str(folder),
        f"{prefix}_SERVER_STATE_FILE": str(folder / "server-state"),
        f"{prefix}_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        f"{prefix}_METRICS_PORT": str(free_port()),
        f"{prefix}_STATS_PORT": str(free_port()),
        # Serve's own metrics cost a datagram and a parse a request; the edge counts already.
        f"{prefix}_METRICS_ENABLED": "0",
        f"{prefix}_NBTHREAD": "1",
        f"{prefix}_HARD_STOP_AFTER_S": "10",
        # Replicas of a retired version get no traffic any more when they are asked to stop.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    }
