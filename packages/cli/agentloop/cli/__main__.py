"""``python -m agentloop.cli``, and the ``agentloop`` of an installed wheel."""

import os
import sys
from typing import NoReturn

from agentloop.cli.main import main as run_command


def main() -> NoReturn:
    """Run a command, flush what it said, and leave at once.

    Everything durable is on disk by then. The interpreter's own farewell (Ray's, torch's and
    MLflow's threads) takes another 2.5 s; Ray sees a driver go either way.
    """
    try:
        code = run_command()
    except SystemExit as request:  # argparse: --help, --version, wrong usage
        code = request.code if isinstance(request.code, int) else 2
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
