"""The report's pictures, as SVG written by hand. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.models import Check

BLUE, GREEN, RED, GREY = "#2563eb", "#059669", "#dc2626", "#9ca3af"
TEXT = 'font-family="sans-serif" font-size="12" fill="#374151"'
MAX_CLASSES = 20
CALIBRATION_BINS = 10


def confusion_plot(
    truth: npt.NDArray[Any], answers: npt.NDArray[Any], classes: Sequence[str]
) -> str:
    """Rows true, columns answered, of labels (rows,); shaded by the row's share."""
    shown = list(classes)[:MAX_CLASSES]
    widest = max((len(name[:16]) for name in shown), default=0)
    cell, left, top = max(44, 8 * widest + 12), 130, 50
    caption = "rows: true class, columns: answer"
    parts = [f'<text x="{left}" y="16" {TEXT}>{caption}</text>']
    for i, name in enumerate(shown):
        mine = answers[truth == name]
        label, middle = escape(name[:16]), i * cell + cell / 2
        parts.append(_text(left - 8, top + middle + 4, label, "end"))
        parts.append(_text(left + middle, top - 8, label, "middle"))
        for j, other in enumerate(shown):
            count = int((mine == other).sum())
            share = 0.6 * count / max(1, len(mine))  # pale enough for the dark figure on it
            x, y = left + j * cell, top + i * cell
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell}" height="{cell}" stroke="#e5e7eb" '
                f'fill="{BLUE}" fill-opacity="{share:.3f}"/>'
            )
            parts.append(_text(x + cell / 2, y + cell / 2 + 4, str(count), "middle"))
    size = cell * len(shown)
    return _svg(left + max(size, 8 * len(caption)) + 20, top + size + 20, parts)


def calibration_plot(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> str:
    """How often answers given with some confidence were right, in ten bins of (rows,) each."""
    left, top, size = 50, 20, 260
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    parts = [
        f'<rect x="{left}" y="{top}" width="{size}" height="{size}" fill="none" stroke="{GREY}"/>',
        f'<path d="M{left},{top + size} l{size},-{size}" stroke="{GREY}" stroke-dasharray="4"/>',
        _text(left + size / 2, top + size + 30, "confidence", "middle"),
        _text(left - 8, top + 10, "right", "end"),
    ]
    for k in range(CALIBRATION_BINS):
        chosen = bins == k
        if not chosen.any():
            continue
        x = left + size * float(confidence[chosen].mean())
        y = top + size * (1 - float(right[chosen].mean()))
        radius = 3 + 9 * float(chosen.mean()) ** 0.5
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{BLUE}" fill-opacity="0.6">'
            f"<title>{int(chosen.sum())} rows</title></circle>"
        )
    return _svg(left + size + 30, top + size + 44, parts)


def scatter_plot(truth: npt.NDArray[np.float64], answers: npt.NDArray[np.float64]) -> str:
    """Answered against true values (rows,) of a regression, at most 500 of them."""
    left, top, size = 60, 20, 260
    low = float(min(truth.min(), answers.min()))
    span = float(max(truth.max(), answers.max())) - low or 1.0
    parts = [
        f'<rect x="{left}" y="{top}" width="{size}" height="{size}" fill="none" stroke="{GREY}"/>',
        f'<path d="M{left},{top + size} l{size},-{size}" stroke="{GREY}" stroke-dasharray="4"/>',
        _text(left + size / 2, top + size + 30, "true", "middle"),
        _text(left - 8, top + 10, "answered", "end"),
    ]
    for t, a in zip(truth[:500], answers[:500], strict=True):
        x, y = left + size * (t - low) / span, top + size * (1 - (a - low) / span)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{BLUE}"/>')
    return _svg(left + size + 30, top + size + 44, parts)


def interval_plot(checks: Sequence[Check]) -> str:
    """A bar from low to high a check, its value, and its limit as a red line; each on its own
    scale, because units differ."""
    drawn = [c for c in checks if c.value is not None and c.low is not None and c.high is not None]
    left, width, step = 230, 360, 26
    parts: list[str] = []
    for row, check in enumerate(drawn):
        y = 20 + row * step
        known = [check.value, check.low, check.high, check.limit]
        marks = [mark for mark in known if mark is not None]
        low, span = min(marks), (max(marks) - min(marks)) or 1.0
        at = [left + width * (0.08 + 0.84 * (mark - low) / span) for mark in marks]
        colour = {True: GREEN, False: RED, None: GREY}[check.passed]
        parts.append(_text(left - 10, y + 4, escape(check.name[:34]), "end"))
        parts.append(
            f'<path d="M{at[1]:.1f},{y} H{at[2]:.1f}" stroke="{colour}" stroke-width="4"/>'
            f'<circle cx="{at[0]:.1f}" cy="{y}" r="5" fill="{colour}"/>'
        )
        if check.limit is not None:
            parts.append(
                f'<path d="M{at[3]:.1f},{y - 9} v18" stroke="{RED}" stroke-dasharray="3"/>'
            )
        parts.append(_text(left + width + 10, y + 4, f"{check.value:.4g}", "start"))
    return _svg(left + width + 80, 20 + step * max(1, len(drawn)), parts)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {TEXT}>{text}</text>'


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}">'
    return "\n".join([head, *parts, "</svg>"])
