"""Parse the command line and hand over; nothing heavy is imported until a command runs.

Exit codes: 0 done, 1 unexpected error, 2 wrong usage, 130 interrupted, and those of the error
tree (``agentloop.contracts.errors``) for everything Agent Loop itself refuses.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from agentloop.cli.output import keep_stdout_for_the_result, reader_left

if TYPE_CHECKING:
    from agentloop.loop.home import StateFolder

VERSION = "0.1.0"

# command → (module, one line of help). Each module has add_arguments(parser) and run(context).
COMMANDS = {
    "run": ("run", "take a loop.yaml from raw data to a served, monitored model"),
    "ingest": ("ingest", "read, check, profile and version one batch of data"),
    "data": ("data", "show, compare and check out the versions of a dataset"),
    "lineage": ("lineage", "show what a dataset or a model came of, and what came of it"),
    "reproduce": ("reproduce", "fit a registered version again and compare, bit by bit"),
    "check": ("check", "check a loop.yaml without running it"),
    "status": ("status", "show the cluster, the models served and their traffic"),
    "predict": ("predict", "send rows to a served model"),
    "rollout": ("rollout", "plan, apply, watch, pause or abort the rollout of a version"),
    "rollback": ("rollback", "send a model's traffic back to its previous version"),
    "keys": ("keys", "make, list and revoke the API keys that the edge asks for"),
    "up": ("up", "start the local cluster and serve again what was served"),
    "down": ("down", "stop the local cluster; everything learned is kept"),
    "ui": ("ui", "open MLflow's page on this state folder"),
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="agentloop",
        description="One loop.yaml takes a model from raw data to guarded production.",
        epilog="State is kept in ./.agentloop, or in the folder that AGENTLOOP_HOME names. "
        "AGENTLOOP_DATABASE_URL (postgresql://…) keeps the durable runs in PostgreSQL.",
    )
    parser.add_argument("--version", action="version", version=f"agentloop {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        import_module(f"agentloop.cli.{module}_command").add_arguments(command)
        command.add_argument("--json", action="store_true", help="print the result as JSON")
        command.add_argument("--debug", action="store_true", help="show tracebacks and logs")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = build_parser().parse_args(arguments)
    with keep_stdout_for_the_result(options.debug) as result:
        try:
            return _dispatch(options, result)
        except KeyboardInterrupt:
            print("\nInterrupted. Run the same command again: it goes on.", file=sys.stderr)
            return 130
        except Exception as error:
            if isinstance(error, BrokenPipeError) and reader_left(result):
                return 0
            if options.debug:
                import traceback

                traceback.print_exc()
            return _explain(error, options.json, result)


def _home() -> StateFolder:
    from agentloop.loop.home import open_home

    database = os.environ.get("AGENTLOOP_DATABASE_URL")
    return open_home(os.environ.get("AGENTLOOP_HOME"), Path.cwd(), database)


def _dispatch(options: argparse.Namespace, result: TextIO) -> int:
    from agentloop.cli.context import Context

    module = import_module(f"agentloop.cli.{COMMANDS[options.command][0]}_command")
    code: int = module.run(Context(options, _home(), dict(os.environ), result))
    return code


def _explain(error: Exception, as_json: bool, result: TextIO) -> int:
    """One clear message on stderr (and the fields on stdout with --json); the exit code."""
    from agentloop.cli.explain import as_agentloop_error, full_disk, one_line

    known = as_agentloop_error(error) or full_disk(_home().root)
    if known is None:
        message = one_line(error)
        print(f"agentloop: unexpected {message}", file=sys.stderr)
        print("Run again with --debug to see where.", file=sys.stderr)
        fields: dict[str, object] = {"error": type(error).__name__, "message": message}
        code = 1
    else:
        print(f"agentloop: {known}", file=sys.stderr)
        fields, code = known.as_dict(), known.exit_code
    if as_json:
        print(json.dumps({**fields, "exit_code": code}, default=str), file=result)
    return code
