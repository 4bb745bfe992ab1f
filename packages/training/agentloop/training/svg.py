"""Axes, labels and the frame that all pictures share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

BLUE = "#2563eb"
COLOURS = (BLUE, "#d97706", "#059669", "#dc2626")
INK, GRID = "#374151", "#e5e7eb"
TICKS = 5


@dataclass(frozen=True, slots=True)
class Frame:
    """A plot area: ``x`` and ``y`` are the (low, high) that its edges stand for."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: int = 640
    height: int = 340
    left: int = 64
    margin: int = 44

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where a value is, in pixels from the top left."""
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1.0)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1.0)
        return (
            self.left + across * (self.width - self.left - self.margin / 2),
            self.height - self.margin - up * (self.height - 1.7 * self.margin),
        )

    def axes(self, across: str, up: str) -> str:
        """Grid, ticks and what the axes are."""
        bottom, right = self.height - self.margin, self.width - self.margin / 2
        parts = []
        for value in ticks(*self.y):
            y = self.point(self.x[0], value)[1]
            parts.append(f'<path d="M{self.left},{y:.1f} H{right}" stroke="{GRID}"/>')
            parts.append(label(self.left - 6, y + 4, f"{value:.4g}", "end"))
        for value in ticks(*self.x):
            x = self.point(value, self.y[0])[0]
            parts.append(label(x, bottom + 18, f"{value:.4g}", "middle"))
        parts.append(label(right, bottom + 36, across, "end"))
        parts.append(label(6, 16, up))
        return "\n".join(parts)

    def legend(self, index: int, name: str, colour: str) -> str:
        x, y = self.width - 170, 20 + 18 * index
        return (
            f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colour}"/>'
            f"{label(x + 16, y, name)}"
        )


def ticks(low: float, high: float) -> list[float]:
    """About ``TICKS`` round numbers within [low, high]."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / TICKS
    unit = 10.0 ** np.floor(np.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw)
    first, last = int(np.ceil(low / step)), int(np.floor(high / step))
    return [float(n * step) for n in range(first, last + 1)]


def label(x: float, y: float, text: str, anchor: str = "start", colour: str = INK) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-family="sans-serif" '
        f'font-size="12" fill="{colour}">{escape(text)}</text>'
    )


def picture(width: int, height: int, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}">'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>"])
