"""A profile as one HTML page that needs nothing else: no script, no font, no picture."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from itertools import pairwise

from agentloop.contracts.data import ColumnProfile, DataProfile, Finding
from agentloop.data.profile_svg import bar_list, box_plot, histogram, null_bar

MAX_COLUMNS = 300
_STYLE = """
:root{color-scheme:light dark;--ink:#1d2733;--dim:#66727f;--line:#dde3e9;--card:#fff;--page:#f4f6f8;
--bar:#3b6ea5;--soft:#c9d9ea;--warn:#b26a00;--reject:#b3261e;--quarantine:#7b3fa0}
@media(prefers-color-scheme:dark){:root{--ink:#e4e9ee;--dim:#93a0ad;--line:#2f3a45;--card:#1b232b;
--page:#12181e;--bar:#6fa3d8;--soft:#2c4763;--warn:#e0a030;--reject:#ef7b73;--quarantine:#c497e0}}
*{box-sizing:border-box}body{font:14px/1.45 system-ui,sans-serif;margin:0;color:var(--ink);
background:var(--page)}main{max-width:1180px;margin:0 auto;padding:2rem 1.5rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1rem;margin:0;overflow-wrap:anywhere}
p{margin:.3rem 0 0;color:var(--dim)}.facts{display:flex;flex-wrap:wrap;gap:.4rem 2rem;
margin:1rem 0 1.5rem}.facts b{display:block;font-size:1.25rem}.facts span{color:var(--dim)}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(340px,1fr));gap:1rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:1rem}
.head{display:flex;justify-content:space-between;gap:.5rem;align-items:baseline}
.kind{color:var(--dim);font-size:.8rem;white-space:nowrap}dl{display:grid;margin:.6rem 0 0;
grid-template-columns:auto 1fr auto 1fr;gap:.1rem .8rem;font-size:.85rem}dt{color:var(--dim)}
dd{margin:0;text-align:right;font-variant-numeric:tabular-nums}svg{display:block;width:100%;
margin-top:.7rem}svg text{font:11px system-ui,sans-serif;fill:var(--dim)}.bar{fill:var(--bar)}
.soft{fill:var(--soft)}.axis{stroke:var(--line)}.mark{stroke:var(--ink);stroke-width:2}
ul{list-style:none;margin:0 0 1.5rem;padding:0}li{background:var(--card);margin-top:.4rem;
border:1px solid var(--line);border-left:4px solid var(--warn);border-radius:6px;
padding:.5rem .8rem}li.reject{border-left-color:var(--reject)}
li.quarantine{border-left-color:var(--quarantine)}li small{color:var(--dim);display:block}
"""


def render_profile(
    name: str, profile: DataProfile, findings: Sequence[Finding] = (), version: str = ""
) -> str:
    """The page's text: the checks' findings, then a card a column."""
    shown = profile.columns[:MAX_COLUMNS]
    more = len(profile.columns) - len(shown)
    rest = f"<p>and {more:,} more columns, in profile.json</p>" if more else ""
    cards = "".join(_card(column) for column in shown)
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{escape(name)} {escape(version)}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{escape(name)}</h1><p>{escape(version)}</p>{_facts(profile)}{_findings(findings)}"
        f"<div class='grid'>{cards}</div>{rest}</main></body></html>\n"
    )


def _facts(profile: DataProfile) -> str:
    cells = sum(column.count + column.nulls for column in profile.columns)
    nulls = sum(column.nulls for column in profile.columns)
    facts = {
        "rows": f"{profile.rows:,}",
        "columns": f"{len(profile.columns):,}",
        "values missing": f"{nulls / cells:.1%}" if cells else "none",
    }
    told = "".join(f"<div><b>{value}</b><span>{key}</span></div>" for key, value in facts.items())
    return f"<div class='facts'>{told}</div>"


def _findings(findings: Sequence[Finding]) -> str:
    told = "".join(
        f"<li class='{finding.severity}'>{escape(finding.message)}"
        f"<small>{finding.severity}{_policy(finding)}</small></li>"
        for finding in findings
    )
    return f"<ul>{told}</ul>" if told else ""


def _policy(finding: Finding) -> str:
    return f", because {escape(finding.policy)}" if finding.policy else ""


def _card(column: ColumnProfile) -> str:
    facts = "".join(f"<dt>{key}</dt><dd>{escape(value)}</dd>" for key, value in _numbers(column))
    return (
        f"<section class='card'><div class='head'><h2>{escape(column.name)}</h2>"
        f"<span class='kind'>{column.kind}</span></div><dl>{facts}</dl>"
        f"{null_bar(column.null_rate)}{_plot(column)}</section>"
    )


def _numbers(column: ColumnProfile) -> list[tuple[str, str]]:
    facts = [
        ("values", f"{column.count:,}"),
        ("distinct", f"{column.distinct:,}"),
        ("missing", f"{column.null_rate:.1%}" if column.nulls else "none"),
    ]
    if column.mean is not None and column.kind != "boolean":
        facts.append(("mean", _shown(column, column.mean)))
    if column.std is not None and column.kind != "datetime":
        facts.append(("std", f"{column.std:.4g}"))
    if column.quantiles:
        facts.append(("median", _shown(column, column.quantiles["0.5"])))
    if column.minimum is not None and column.maximum is not None:
        facts += [
            ("min", _shown(column, column.minimum)),
            ("max", _shown(column, column.maximum)),
        ]
    return facts


def _plot(column: ColumnProfile) -> str:
    if column.histogram is not None:
        edges, counts = column.histogram
        labels = [f"{_shown(column, a)} to {_shown(column, b)}" for a, b in pairwise(edges)]
        ends = (_shown(column, edges[0]), _shown(column, edges[-1]))
        return histogram(counts, labels, ends) + box_plot(column)
    return bar_list(column.top, column.count)


def _shown(column: ColumnProfile, value: float) -> str:
    """Times are profiled as seconds since 1970."""
    if column.kind != "datetime":
        return f"{value:,.4g}" if abs(value) < 1e6 else f"{value:.4g}"
    try:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return f"{value:.4g}"
