"""``agentloop reproduce``: joins a cluster only if the version was trained on several workers."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentloop.cli.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL[@VERSION]",
        help="a model (its newest version), or one version of it, or the beginning of one",
    )


def run(context: Context) -> int:
    """Raises ModelNotReproduced (45), VersionNotFound, ArtifactUnverified, DataError."""
    from agentloop.contracts import ModelNotReproduced, to_dict
    from agentloop.loop.code_identity import code_identity
    from agentloop.loop.reproducing import reproduce_version

    found = reproduce_version(
        context.home, context.options.model, code_identity(), context.environment
    )
    if not context.options.json:
        from agentloop.cli.rich_reproduction import print_reproduction

        print_reproduction(found, context.result)
    if not found.identical:
        raise ModelNotReproduced(found.model, found.version, found.differences)
    if context.options.json:
        context.print_json({**to_dict(found), "differences": found.differences})
    return 0
