"""``agentloop predict``."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentloop.cli.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="the name in loop.yaml")
    rows = parser.add_mutually_exclusive_group()
    rows.add_argument("--row", action="append", help="a JSON object; may be given several times")
    rows.add_argument("--file", help="a .csv, .json or .jsonl file of rows; - reads JSON lines")


def run(context: Context) -> int:
    """Without rows it sends one held-out row. Raises ModelNotServed, RequestRejected."""
    from agentloop.contracts import ModelNotServed, to_dict
    from agentloop.serving import Client, inside_url, read_endpoint, read_split

    model: str = context.options.model
    read_split(context.home.root, model)
    if read_endpoint(context.home.root) is None:
        raise ModelNotServed(model, next_step="agentloop up")
    with Client(inside_url(context.home.root)) as client:
        prediction = client.predict(model, _rows(context))
    if context.options.json:
        context.print_json(to_dict(prediction))
        return 0
    chances = prediction.probabilities or ((),) * len(prediction.labels)
    for label, probabilities in zip(prediction.labels, chances, strict=True):
        context.print(f"{label}  ({max(probabilities):.3f})" if probabilities else str(label))
    print(f"{model} {prediction.model_version}, {prediction.request_id}", file=sys.stderr)
    return 0


def _rows(context: Context) -> list[dict[str, Any]]:
    from agentloop.contracts import RequestRejected

    options = context.options
    try:
        if options.row:
            rows = [json.loads(row) for row in options.row]
        elif options.file:
            rows = _read(options.file)
        else:
            rows = _read(str(context.home.example_row(options.model)))
    except (OSError, ValueError) as error:
        raise RequestRejected(400, f"the rows cannot be read ({error})") from None
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise RequestRejected(400, "each row must be a JSON object of column: value")
    return rows


def _read(name: str) -> list[dict[str, Any]]:
    text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    if name.endswith(".csv"):
        return [{k: _cell(v) for k, v in row.items()} for row in csv.DictReader(text.splitlines())]
    if name.endswith(".json"):
        value = json.loads(text)
        return value if isinstance(value, list) else [value]
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _cell(text: str) -> float | str | None:
    try:
        return float(text) if text else None
    except ValueError:
        return text
