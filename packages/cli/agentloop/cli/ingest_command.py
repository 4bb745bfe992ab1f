"""``agentloop ingest``."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentloop.cli.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", type=Path, help="the loop.yaml")
    parser.add_argument("--batch", default="", metavar="ID", help="the batch's name (default: now)")
    parser.add_argument(
        "--since",
        metavar="TIME",
        help="only rows later than this (ISO 8601), or 'last' for the newest row accepted so far; "
        "needs data.source.time_column",
    )


def run(context: Context) -> int:
    """Raises a DataError for whatever is wrong with the source or its rows."""
    from agentloop.contracts import load_spec, to_dict
    from agentloop.loop.ingestion import IngestRequest, ingest

    # A scheduler's way to say Ctrl-C: what is staged goes, and the exit code tells.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    spec_path: Path = context.options.spec
    spec = load_spec(spec_path)
    context.home.create()
    request = IngestRequest(
        spec=spec,
        spec_path=spec_path,
        base_dir=spec_path.absolute().parent,
        home=context.home,
        environment=context.environment,
        batch_id=context.options.batch,
        since=context.options.since,
    )
    batch = ingest(request, lambda message: print(f"  {message}", file=sys.stderr, flush=True))
    if context.options.json:
        context.print_json(to_dict(batch))
    else:
        from agentloop.cli.rich_batch import print_batch

        print_batch(batch, context.result)
    return 0
