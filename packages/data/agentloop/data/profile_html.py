"""A profile as one HTML page that needs nothing else."""

from __future__ import annotations

from html import escape
from itertools import pairwise

from agentloop.contracts.data import ColumnProfile, DataProfile

WIDTH, HEIGHT = 240, 48
_STYLE = (
    "body{font:14px/1.4 system-ui,sans-serif;margin:2rem;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.3rem .8rem;text-align:left;"
    "border-bottom:1px solid #ddd;vertical-align:middle}rect{fill:#3b6ea5}small{color:#666}"
)


def render_profile(name: str, profile: DataProfile) -> str:
    """The page's text."""
    rows = "".join(_row(column) for column in profile.columns)
    heads = "".join(
        f"<th>{head}</th>"
        for head in ("column", "kind", "nulls", "distinct", "range", "mean ± std", "values")
    )
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(name)}</title>"
        f"<style>{_STYLE}</style><h1>{escape(name)}</h1><p>{profile.rows:,} rows, "
        f"{len(profile.columns)} columns</p><table><tr>{heads}</tr>{rows}</table></html>\n"
    )


def _row(column: ColumnProfile) -> str:
    span = f"{column.minimum:.4g} … {column.maximum:.4g}" if column.minimum is not None else ""
    spread = f"{column.mean:.4g} ± {column.std:.4g}" if column.mean is not None else ""
    cells = (
        escape(column.name),
        column.kind,
        f"{column.nulls:,} <small>({column.null_rate:.1%})</small>",
        f"{column.distinct:,}",
        span,
        spread,
        _bars(column),
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _bars(column: ColumnProfile) -> str:
    if column.histogram is not None:
        edges, counts = column.histogram
        labels = [f"{a:.4g} to {b:.4g}" for a, b in pairwise(edges)]
    else:
        labels, counts = [text for text, _ in column.top], tuple(n for _, n in column.top)
    highest = max(counts, default=0)
    if not highest:
        return ""
    step = WIDTH / len(counts)
    bars = "".join(
        f"<rect x='{i * step:.1f}' y='{HEIGHT * (1 - n / highest):.1f}' width='{step * 0.9:.1f}' "
        f"height='{HEIGHT * n / highest:.1f}'><title>{escape(label)}: {n:,}</title></rect>"
        for i, (label, n) in enumerate(zip(labels, counts, strict=True))
    )
    return f"<svg width='{WIDTH}' height='{HEIGHT}' role='img'>{bars}</svg>"
