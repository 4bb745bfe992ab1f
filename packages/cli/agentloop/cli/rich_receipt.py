"""The receipt of a run, for people."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.text import Text

from agentloop.contracts import Receipt

MARGIN = " " * 15
LEAST_WIDTH = 40


def print_receipt(receipt: Receipt, stream: TextIO) -> None:
    """Print what a person wants to know, each fact on its line."""
    console = Console(file=stream, highlight=False, soft_wrap=True)
    console.print()
    for label, value in _facts(receipt):
        _print_fact(console, label, value)
    if receipt.curl:
        console.print("\nTry it:")
        console.print(f"  {receipt.curl}")
        console.print(f"  ./agentloop predict {receipt.model}")
    if receipt.mlflow_uri.startswith("sqlite:"):
        console.print("  ./agentloop ui        [dim]# MLflow's page[/dim]")


def _print_fact(console: Console, label: str, value: str | Text) -> None:
    """Sentences are wrapped beside their label; a path or URL stays whole, to be copied."""
    width = console.width - len(MARGIN)
    lines: Sequence[str | Text] = [value] if isinstance(value, Text) else _wrapped(value, width)
    for position, line in enumerate(lines):
        name = label if position == 0 else ""
        console.print(Text.assemble((f"  {name:<{len(MARGIN) - 2}}", "dim"), line))


def _wrapped(sentence: str, width: int) -> list[str]:
    return textwrap.wrap(
        sentence, max(width, LEAST_WIDTH), break_long_words=False, break_on_hyphens=False
    )


def _facts(receipt: Receipt) -> list[tuple[str, str | Text]]:
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in sorted(receipt.metrics.items()))
    approved = receipt.decision.approved
    verdict = Text("approved" if approved else "rejected", style="green" if approved else "red")
    facts: list[tuple[str, str | Text]] = [
        ("model", f"{receipt.model} {receipt.model_version}"),
        ("data", receipt.data_version),
        ("run", receipt.run_id),
        ("metrics", metrics),
        ("gate", verdict),
    ]
    facts += [("", f"- {reason}") for reason in receipt.decision.reasons]
    facts += [("", f"→ {advice}") for advice in receipt.decision.recommendations]
    if receipt.traffic:
        split = ", ".join(f"{version} {weight:g}%" for version, weight in receipt.traffic.items())
        facts.append(("traffic", split))
    links = [
        ("endpoint", receipt.endpoint),
        ("metrics", receipt.metrics_url),
        ("report", receipt.report),
        ("MLflow", receipt.mlflow_uri),
        ("dashboard", receipt.dashboard_url),
    ]
    facts += [(label, value) for label, value in links if value]
    times = ", ".join(f"{stage.name} {stage.seconds:.1f}" for stage in receipt.stages)
    facts.append(("seconds", times))
    return facts
