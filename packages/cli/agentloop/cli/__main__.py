"""``python -m agentloop.cli``."""

import sys

from agentloop.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
