"""The command line."""

from agentloop.cli.main import main

__all__ = ["main"]
