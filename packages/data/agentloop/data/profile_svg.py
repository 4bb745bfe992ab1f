"""Plots of a column's profile, as SVG that stands in a page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from agentloop.contracts.data import ColumnProfile

WIDTH, HEIGHT = 320, 90
SHOWN_BARS, LONGEST_LABEL = 10, 22
_QUANTILES = ("0.05", "0.25", "0.5", "0.75", "0.95")


def histogram(counts: Sequence[int], labels: Sequence[str], ends: tuple[str, str]) -> str:
    """Bars of equal width; ``labels`` are told on hover, ``ends`` stand below the axis."""
    highest = max(counts, default=0)
    if not highest:
        return ""
    step = WIDTH / len(counts)
    bars = "".join(
        f"<rect class='bar' x='{i * step:.1f}' y='{HEIGHT * (1 - n / highest):.1f}' "
        f"width='{step * 0.92:.1f}' height='{HEIGHT * n / highest:.1f}'>"
        f"<title>{escape(label)}: {n:,}</title></rect>"
        for i, (label, n) in enumerate(zip(labels, counts, strict=True))
    )
    return (
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT + 16}' role='img' aria-label='histogram'>{bars}"
        f"<line class='axis' x1='0' y1='{HEIGHT}' x2='{WIDTH}' y2='{HEIGHT}'/>"
        f"<text x='0' y='{HEIGHT + 13}'>{escape(ends[0])}</text>"
        f"<text x='{WIDTH}' y='{HEIGHT + 13}' text-anchor='end'>{escape(ends[1])}</text></svg>"
    )


def box_plot(column: ColumnProfile) -> str:
    """The middle half as a box, the median in it, the middle 90% as a line; on the histogram's
    axis."""
    low, high = column.minimum, column.maximum
    if low is None or high is None or high <= low or not column.quantiles:
        return ""
    at = [WIDTH * (column.quantiles[q] - low) / (high - low) for q in _QUANTILES]
    told = ", ".join(f"{q}: {value:.4g}" for q, value in column.quantiles.items())
    return (
        f"<svg viewBox='0 0 {WIDTH} 16' role='img' aria-label='quantiles'>"
        f"<title>{escape(told)}</title>"
        f"<line class='axis' x1='{at[0]:.1f}' y1='8' x2='{at[4]:.1f}' y2='8' stroke-width='3'/>"
        f"<rect class='soft' x='{at[1]:.1f}' y='2' width='{max(at[3] - at[1], 1):.1f}' "
        f"height='12'/><line class='mark' x1='{at[2]:.1f}' y1='1' x2='{at[2]:.1f}' y2='15'/></svg>"
    )


def bar_list(top: Sequence[tuple[str, int]], count: int) -> str:
    """The most frequent values with their shares, and all others as one."""
    if not top or not count:
        return ""
    shown = [(text or "(empty)", n) for text, n in top[:SHOWN_BARS]]
    rest = count - sum(n for _, n in shown)
    if rest > 0:
        shown.append(("all others", rest))
    widest = max(n for _, n in shown)
    rows = "".join(
        f"<text x='0' y='{i * 18 + 13}'>{escape(_cut(text))}</text>"
        f"<rect class='{'bar' if text != 'all others' else 'soft'}' x='130' y='{i * 18 + 3}' "
        f"width='{130 * n / widest:.1f}' height='12'><title>{escape(text)}: {n:,}</title></rect>"
        f"<text x='{WIDTH}' y='{i * 18 + 13}' text-anchor='end'>{n / count:.1%}</text>"
        for i, (text, n) in enumerate(shown)
    )
    height = len(shown) * 18 + 2
    return f"<svg viewBox='0 0 {WIDTH} {height}' role='img' aria-label='top values'>{rows}</svg>"


def null_bar(rate: float) -> str:
    """How much is missing, where anything is."""
    if rate <= 0:
        return ""
    return (
        f"<svg viewBox='0 0 {WIDTH} 6' role='img' aria-label='missing'>"
        f"<title>{rate:.1%} missing</title><rect class='soft' width='{WIDTH}' height='5'/>"
        f"<rect fill='var(--warn)' width='{max(WIDTH * rate, 1):.1f}' height='5'/></svg>"
    )


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"
