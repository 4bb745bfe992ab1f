"""``agentloop check``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentloop.cli.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", type=Path, help="the loop.yaml")


def run(context: Context) -> int:
    """Raises SpecError."""
    from agentloop.contracts import load_spec

    spec = load_spec(context.options.spec)
    if context.options.json:
        context.print_json(spec.model_dump(mode="json"))
    else:
        context.print(f"{context.options.spec} is valid: model {spec.name}, {spec.model.family}.")
    return 0
