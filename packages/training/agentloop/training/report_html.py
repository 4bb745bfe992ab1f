"""The page of a run: what was trained on what, how good it is, and every picture; one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from agentloop.training.search_space import SearchResult
from agentloop.training.trained import TrainedModel

MAX_TRIALS = 20
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1f2937;max-width:1080px;margin:2rem auto;
padding:0 1.5rem}h1{margin-bottom:0}h2{margin-top:2.2rem;border-bottom:1px solid #e5e7eb;
padding-bottom:.3rem}table{border-collapse:collapse}td,th{padding:.3rem .9rem;text-align:left;
border-bottom:1px solid #f3f4f6}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.facts{color:#6b7280}.plots{display:flex;flex-wrap:wrap;gap:1.5rem}
figure{margin:0}figcaption{font-weight:600;margin-bottom:.3rem}svg{max-width:100%;height:auto}
pre{background:#f9fafb;padding:1rem;white-space:pre-wrap;overflow-wrap:anywhere;font-size:13px}
code{overflow-wrap:anywhere}
"""


def report_page(
    title: str,
    facts: Sequence[str],
    metrics: Mapping[str, float],
    trained: TrainedModel,
    plots: Mapping[str, str],
    card: str,
) -> str:
    """``plots``: SVG by caption. Nothing is loaded from elsewhere."""
    figures = "".join(
        f"<figure><figcaption>{escape(name)}</figcaption>{svg}</figure>"
        for name, svg in plots.items()
    )
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="facts">{escape(" · ".join(facts))}</p>',
        f"<h2>Measured</h2>{metrics_table(metrics)}",
        f'<h2>Pictures</h2><div class="plots">{figures}</div>',
        f"<h2>Members</h2>{_members(trained)}",
        _search(trained.search),
        f"<h2>Model card</h2><pre>{escape(card)}</pre>",
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        f"</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def metrics_table(metrics: Mapping[str, float]) -> str:
    """One row a metric, one column a part of the data; what belongs to none comes below."""
    parts = {"train_": "training", "val_": "validation"}
    names = [name for name in metrics if not name.startswith(tuple(parts))]
    shown = [p for p in parts if any(name.startswith(p) for name in metrics)]
    head = "".join(f'<th class="n">{parts[p]}</th>' for p in shown)
    rows = "".join(
        f"<tr><td>{escape(name)}</td>{_number(metrics[name])}"
        f"{''.join(_number(metrics.get(f'{p}{name}')) for p in shown)}</tr>"
        for name in sorted(names)
    )
    return f'<table><tr><th></th><th class="n">held out</th>{head}</tr>{rows}</table>'


def _members(trained: TrainedModel) -> str:
    rows = "".join(
        f"<tr>{_number(m.weight)}<td>{escape(m.family)}</td><td><code>"
        f"{escape(_parameters(m.parameters))}</code></td></tr>"
        for m in sorted(trained.members, key=lambda member: -member.weight)
    )
    head = '<th class="n">weight</th><th>family</th><th>parameters</th>'
    return f"<table><tr>{head}</tr>{rows}</table>"


def _search(search: SearchResult | None) -> str:
    if search is None:
        return ""
    finished = [t for t in search.trials if t.loss is not None and not t.pruned]
    best = sorted(finished, key=lambda trial: trial.loss or 0.0)[:MAX_TRIALS]
    rows = "".join(
        f"<tr>{_number(t.loss)}<td>{escape(t.family)}</td><td><code>"
        f"{escape(_parameters(t.parameters))}</code></td>{_number(t.seconds, 1)}</tr>"
        for t in best
    )
    pruned = sum(t.pruned for t in search.trials)
    told = f"{len(search.trials)} trials in {search.seconds:.0f} s, {pruned} stopped early"
    head = '<th class="n">loss</th><th>family</th><th>parameters</th><th class="n">seconds</th>'
    return f"<h2>Search</h2><p>{told}; the best:</p><table><tr>{head}</tr>{rows}</table>"


def _parameters(parameters: Mapping[str, object]) -> str:
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in sorted(parameters.items())
        if value is not None
    )


def _number(value: float | None, digits: int = 4) -> str:
    text = "" if value is None else f"{value:.{digits}f}" if abs(value) >= 1e-3 else f"{value:.2e}"
    return f'<td class="n">{text}</td>'
