"""Pictures of a run, as SVG written by hand: importing matplotlib costs a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from agentloop.training.svg import BLUE, COLOURS, Frame, label, picture

MAX_BARS = 20


def learning_curve(series: Mapping[str, Sequence[float]]) -> str:
    """One line a series over the epochs (1, 2, …); values that are not finite are skipped."""
    finite = [v for values in series.values() for v in values if np.isfinite(v)] or [0.0, 1.0]
    epochs = max((len(values) for values in series.values()), default=1)
    frame = Frame((1, max(epochs, 2)), (min(finite), max(finite)))
    parts = [frame.axes("epoch", "loss")]
    for index, (name, values) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        points = [frame.point(n, v) for n, v in enumerate(values, start=1) if np.isfinite(v)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{line}"/>')
        if len(points) == 1:
            parts.append(_dot(points[0][0], points[0][1], 3, colour))
        parts.append(frame.legend(index, name, colour))
    return picture(frame.width, frame.height, parts)


def confusion_plot(counts: npt.NDArray[np.int64], classes: Sequence[str]) -> str:
    """``counts``: int64 (classes, classes), rows true, columns predicted; shaded by row share."""
    cell, left, top = 56, 130, 60
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    parts = [label(left, 20, "predicted → (rows: true)")]
    for i, name in enumerate(classes):
        y, x = top + i * cell + cell / 2 + 4, left + i * cell + cell / 2
        parts += [label(left - 8, y, name[:16], "end"), label(x, top - 8, name[:8], "middle")]
        for j in range(len(classes)):
            x0, y0 = left + j * cell, top + i * cell
            ink = "white" if shares[i, j] > 0.5 else "#374151"
            parts.append(
                f'<rect x="{x0}" y="{y0}" width="{cell}" height="{cell}" stroke="#e5e7eb" '
                f'fill="{BLUE}" fill-opacity="{shares[i, j]:.3f}"/>'
            )
            parts.append(label(x0 + cell / 2, y0 + cell / 2 + 4, str(counts[i, j]), "middle", ink))
    size = cell * len(classes)
    # Room for the heading over two classes, and for half of the last label.
    return picture(max(left + size + 70, 340), top + size + 20, parts)


def reliability_plot(bins: Sequence[tuple[float, float, int]]) -> str:
    """Each bin's (mean confidence, accuracy, rows) as a dot, as large as its rows; on the diagonal
    where confidence can be taken at its word."""
    low = min((min(c, a) for c, a, n in bins if n), default=0.0)
    low = max(0.0, low - 0.05)
    frame = Frame((low, 1.0), (low, 1.0), width=420, height=400, left=56)
    a, b = frame.point(low, low), frame.point(1.0, 1.0)
    parts = [
        frame.axes("confidence", "accuracy"),
        (
            f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}" '
            'stroke="#9ca3af" stroke-dasharray="4 4"/>'
        ),
    ]
    most = max((n for _, _, n in bins), default=1) or 1
    for confidence, accuracy, rows in bins:
        if rows:
            x, y = frame.point(confidence, accuracy)
            parts.append(_dot(x, y, 3 + 5 * (rows / most) ** 0.5, BLUE, 0.75))
    return picture(frame.width, frame.height, parts)


def residual_plot(
    targets: npt.NDArray[np.floating], predicted: npt.NDArray[np.floating], cells: int = 40
) -> str:
    """True (across) against predicted (up) values, (rows,) each, counted in squares: as many
    rows as there may be, the picture stays as small. Rows on the dashed line are right."""
    both = np.concatenate([targets, predicted])
    both = both[np.isfinite(both)]
    low, high = (float(both.min()), float(both.max())) if len(both) else (0.0, 1.0)
    high = high if high > low else low + 1.0
    frame = Frame((low, high), (low, high), width=460, height=440, left=70)
    counts, edges, _ = np.histogram2d(targets, predicted, cells, [[low, high], [low, high]])
    side_x = abs(frame.point(edges[1], 0)[0] - frame.point(edges[0], 0)[0])
    side_y = abs(frame.point(0, edges[1])[1] - frame.point(0, edges[0])[1])
    parts = []
    for i, j in np.argwhere(counts > 0):
        x, y = frame.point(edges[i], edges[j + 1])
        shade = 0.2 + 0.8 * np.log1p(counts[i, j]) / np.log1p(counts.max())
        parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{side_x:.1f}" height="{side_y:.1f}" '
            f'fill="{BLUE}" fill-opacity="{shade:.2f}"/>'
        )
    a, b = frame.point(low, low), frame.point(high, high)
    parts.append(
        f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}" '
        'stroke="#6b7280" stroke-dasharray="4 4"/>'
    )
    return picture(frame.width, frame.height, [frame.axes("true", "predicted"), *parts])


def importance_plot(rows: Sequence[tuple[str, float, float]]) -> str:
    """(column, mean, standard deviation) as bars, in the order given; the first ``MAX_BARS``."""
    shown = rows[:MAX_BARS]
    high = max((mean + std for _, mean, std in shown), default=0.0) or 1.0
    left, bar, wide = 190, 22, 380
    parts = [label(left, 18, "growth of the loss where the column is shuffled")]
    for index, (name, mean, std) in enumerate(shown):
        y, length = 30 + index * bar, wide * max(mean, 0.0) / high
        end, reach = left + length, wide * std / high
        parts += [
            label(left - 8, y + 14, name if len(name) <= 24 else f"{name[:23]}…", "end"),
            (
                f'<rect x="{left}" y="{y + 3}" width="{length:.1f}" height="{bar - 8}" '
                f'fill="{BLUE}" fill-opacity="0.8"><title>{escape(name)}</title></rect>'
            ),
            (
                f'<line x1="{max(left, end - reach):.1f}" x2="{end + reach:.1f}" y1="{y + 10}" '
                f'y2="{y + 10}" stroke="#111827"/>'
            ),
            label(end + reach + 6, y + 14, f"{mean:.3g}"),
        ]
    return picture(left + wide + 80, 40 + bar * len(shown), parts)


def _dot(x: float, y: float, radius: float, colour: str, opacity: float = 1.0) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}" '
        f'fill-opacity="{opacity}"/>'
    )
