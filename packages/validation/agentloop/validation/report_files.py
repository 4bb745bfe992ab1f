"""The report as files: JSON for programs, HTML for people, and the signed one for serving."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from agentloop.contracts.codec import to_dict
from agentloop.contracts.models import Check, SignedReport, ValidationReport
from agentloop.validation.suites import SUITES

STYLE = """
body{font:15px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#111827}
table{border-collapse:collapse;width:100%}td,th{padding:.25rem .5rem;text-align:left;
border-bottom:1px solid #e5e7eb;vertical-align:top}.pass{color:#059669}.fail{color:#dc2626}
.none{color:#6b7280}td.n{font-variant-numeric:tabular-nums;white-space:nowrap}
"""
WORDS = {True: ("passed", "pass"), False: ("failed", "fail"), None: ("not judged", "none")}


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """``signed`` is what serving verifies; the others are for reading."""

    signed: Path
    json: Path
    html: Path


def report_paths(reports: Path, model: str, version: str) -> ReportPaths:
    """Where a version's report lies, written or not."""
    folder = reports / model
    return ReportPaths(
        folder / f"{version}.json",
        folder / f"{version}.report.json",
        folder / f"{version}.report.html",
    )


def write_report(
    reports: Path, report: ValidationReport, signed: SignedReport, plots: Mapping[str, str]
) -> ReportPaths:
    """Write all three files, each whole or not at all, the signed one last.

    ``plots``: SVG by title.
    """
    version = report.model_version
    paths = report_paths(reports, version.model, version.version)
    _write(paths.json, json.dumps(to_dict(report), indent=2))
    _write(paths.html, render_html(report, plots))
    _write(paths.signed, json.dumps(to_dict(signed)))
    return paths


def render_html(report: ValidationReport, plots: Mapping[str, str]) -> str:
    """One self-contained page: no script, nothing fetched."""
    version = report.model_version
    title = f"{version.model} {version.version}"
    word, css = WORDS[report.deployment_approved]
    verdict = "approved" if report.deployment_approved else "rejected"
    origin = f"{report.created_at} · data {version.data_version} · bundle {report.model_digest}"
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        f"<title>{escape(title)}: {verdict}</title><style>{STYLE}</style>",
        f"<h1>{escape(title)}: <span class='{css}' title='{word}'>{verdict}</span></h1>",
        f"<p>{escape(origin)}</p>",
        _list("Reasons", report.reasons),
        _list("Recommendations", report.recommendations),
    ]
    parts += [f"<h2>{escape(name)}</h2>{svg}" for name, svg in plots.items()]
    for name in SUITES:
        suite = report.test_results[name]
        word, css = WORDS[suite.passed]
        parts.append(f"<h2>{name}: <span class='{css}'>{word}</span> in {suite.seconds:.2f} s</h2>")
        parts.append(_table(suite.checks))
    return "\n".join([*parts, "</html>"])


def _list(title: str, sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<h2>{title}</h2><ul>{items}</ul>" if items else ""


def _table(checks: Sequence[Check]) -> str:
    head = "<tr><th>check<th>outcome<th>value<th>95% interval<th>limit<th>samples<th>what</tr>"
    rows = [
        f"<tr><td>{escape(c.name)}<td class='{WORDS[c.passed][1]}'>{WORDS[c.passed][0]}"
        f"<td class='n'>{_number(c.value)}<td class='n'>{_number(c.low)} to {_number(c.high)}"
        f"<td class='n'>{_number(c.limit)}<td class='n'>{c.samples}<td>{escape(c.message)}</tr>"
        for c in checks
    ]
    return f"<table>{head}{''.join(rows)}</table>"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
