"""``agentloop run``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentloop.cli.context import Context
    from agentloop.contracts import Receipt
    from agentloop.loop.runner import RunRequest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", type=Path, help="the loop.yaml")
    parser.add_argument(
        "--force", action="store_true", help="train a new version though nothing has changed"
    )


def run(context: Context) -> int:
    """Raises whatever a stage refuses; 50 when the gate does, after printing the receipt."""
    from agentloop.contracts import load_spec
    from agentloop.loop.runner import RunRequest, unchanged_receipt

    spec_path: Path = context.options.spec
    spec = load_spec(spec_path)
    request = RunRequest(
        spec=spec,
        base_dir=spec_path.absolute().parent,
        home=context.home,
        environment=context.environment,
        force=context.options.force,
    )
    context.home.create()
    with context.home.lock():
        receipt = unchanged_receipt(request)
        if receipt is None:
            receipt = _run(context, request)
        else:
            print("Nothing has changed: the same version is being served.", file=sys.stderr)
    return _report(context, receipt)


def _run(context: Context, request: RunRequest) -> Receipt:
    from agentloop.cli.rich_progress import open_progress
    from agentloop.loop.runner import run_loop

    found_one = context.home.cluster_record.exists()
    title = f"{request.spec.name}: {context.options.spec}"
    try:
        with open_progress(title, sys.stderr) as progress:
            return run_loop(request, progress)
    except BaseException:
        if context.home.cluster_record.exists() and not found_one:
            print(
                "The cluster stays up for the next run; agentloop down stops it.", file=sys.stderr
            )
        raise


def _report(context: Context, receipt: Receipt) -> int:
    from agentloop.contracts import GateRejected, to_dict

    if context.options.json:
        context.print_json(to_dict(receipt))
    else:
        from agentloop.cli.rich_receipt import print_receipt

        print_receipt(receipt, context.result)
    if receipt.decision.approved:
        return 0
    rejection = GateRejected(
        receipt.model,
        receipt.model_version,
        receipt.decision.reasons,
        receipt.decision.recommendations,
    )
    print(f"agentloop: {rejection}", file=sys.stderr)
    return rejection.exit_code
