"""The two pictures of a run, as SVG written by hand: importing matplotlib costs a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import numpy.typing as npt

_COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626")
_TEXT = 'font-family="sans-serif" font-size="12" fill="#374151"'
_WIDTH, _HEIGHT, _MARGIN = 640, 360, 48


def learning_curve(series: Mapping[str, Sequence[float]]) -> str:
    """One line a series over the epochs (1, 2, …); values that are not finite are skipped."""
    finite = [v for values in series.values() for v in values if np.isfinite(v)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    span = (high - low) or 1.0
    epochs = max((len(values) for values in series.values()), default=1)

    def point(epoch: int, value: float) -> str:
        x = _MARGIN + (_WIDTH - 2 * _MARGIN) * epoch / max(epochs - 1, 1)
        y = _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * (value - low) / span
        return f"{x:.1f},{y:.1f}"

    parts = [_axes(low, high, epochs)]
    for index, (name, values) in enumerate(series.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        line = " ".join(point(i, v) for i, v in enumerate(values) if np.isfinite(v))
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{line}"/>')
        parts.append(
            f'<text x="{_WIDTH - _MARGIN - 90}" y="{_MARGIN + 16 * index}" {_TEXT}>'
            f'<tspan fill="{colour}">■</tspan> {escape(name)}</text>'
        )
    return _svg(_WIDTH, _HEIGHT, parts)


def confusion_plot(counts: npt.NDArray[np.int64], classes: Sequence[str]) -> str:
    """``counts``: int64 (classes, classes), rows true, columns predicted; shaded by row share."""
    cell, left, top = 44, 120, 60
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    parts = [f'<text x="{left}" y="20" {_TEXT}>predicted → (rows: true)</text>']
    for i, name in enumerate(classes):
        label = escape(name[:14])
        y = top + i * cell + cell / 2 + 4
        parts.append(f'<text x="{left - 8}" y="{y}" text-anchor="end" {_TEXT}>{label}</text>')
        x = left + i * cell + cell / 2
        parts.append(f'<text x="{x}" y="{top - 8}" text-anchor="middle" {_TEXT}>{label}</text>')
        for j in range(len(classes)):
            x0, y0 = left + j * cell, top + i * cell
            parts.append(
                f'<rect x="{x0}" y="{y0}" width="{cell}" height="{cell}" stroke="#e5e7eb" '
                f'fill="#2563eb" fill-opacity="{shares[i, j]:.3f}"/>'
                f'<text x="{x0 + cell / 2}" y="{y0 + cell / 2 + 4}" text-anchor="middle" '
                f"{_TEXT}>{counts[i, j]}</text>"
            )
    size = cell * len(classes)
    return _svg(left + size + 20, top + size + 20, parts)


def _axes(low: float, high: float, epochs: int) -> str:
    bottom, right = _HEIGHT - _MARGIN, _WIDTH - _MARGIN
    return (
        f'<path d="M{_MARGIN},{_MARGIN} V{bottom} H{right}" fill="none" stroke="#9ca3af"/>'
        f'<text x="4" y="{_MARGIN + 4}" {_TEXT}>{high:.3g}</text>'
        f'<text x="4" y="{bottom}" {_TEXT}>{low:.3g}</text>'
        f'<text x="{right - 60}" y="{bottom + 20}" {_TEXT}>epoch {epochs}</text>'
    )


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>"])
