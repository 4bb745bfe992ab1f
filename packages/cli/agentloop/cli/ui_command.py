"""``agentloop ui``."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentloop.cli.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=5000, help="loopback port (default: 5000)")


def run(context: Context) -> int:
    """Becomes MLflow's own server on the state folder's store; end it with Ctrl-C."""
    home, port = context.home, str(context.options.port)
    print(f"MLflow: http://127.0.0.1:{port} (Ctrl-C ends it)", file=sys.stderr)
    server = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port]
    stores = ["--backend-store-uri", home.tracking_uri, "--workers", "1"]
    environment = {**context.environment, "MLFLOW_DISABLE_TELEMETRY": "true"}
    os.execve(sys.executable, [*server, *stores], environment)
