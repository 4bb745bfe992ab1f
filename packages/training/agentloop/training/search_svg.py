"""A search as one picture: how its loss fell, and which values of the parameters did well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from agentloop.training.search_space import SearchResult, Trial
from agentloop.training.svg import COLOURS, GRID, INK, Frame, label, picture, ticks

WIDTH, STRIP, ACROSS = 660, 22, 3
PANEL_WIDTH, PANEL_HEIGHT = WIDTH // ACROSS, 190
FAMILY_COLOURS = (*COLOURS, "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")
LOG_SPAN, MOST_LABELS, LABEL_CHARACTERS = 20.0, 4, 26
# Losses this many times further from the best than nine in ten are would flatten all others.
CLIPPED_SHARE, FAR = 0.9, 3.0
MARKS = "● finished   ○ stopped early   ▲ above the axis   × diverged   — best so far"


@dataclass(frozen=True, slots=True)
class Across:
    """An axis of one parameter: where each trial is, the (low, high) of
    the edges, and (place, text) of the labels."""

    name: str
    places: tuple[float, ...]
    edges: tuple[float, float]
    labels: tuple[tuple[float, str], ...]


def search_plot(result: SearchResult) -> str:
    """Loss by trial with the best so far; below, loss against each parameter that differs between
    the trials of the best one's family. Far losses are drawn at the top, as ``MARKS`` says."""
    trials = result.trials
    families = dict.fromkeys(trial.family for trial in trials)
    colours = {f: FAMILY_COLOURS[i % len(FAMILY_COLOURS)] for i, f in enumerate(families)}
    legend, top = _legend(colours)
    y = _loss_range(trials)
    frame = Frame((1, max(len(trials), 2)), y, width=WIDTH)
    parts = [*legend, f'<g transform="translate(0,{top})">', frame.axes("trial", "loss")]
    parts.append(_running_best(frame, trials))
    parts += [_mark(frame, n, trial, colours) for n, trial in enumerate(trials, start=1)]
    parts.append("</g>")
    height = top + frame.height
    own = [trial for trial in trials if trial.family == result.best.family]
    axes = parameter_axes(own)
    for index, across in enumerate(axes):
        x0 = index % ACROSS * PANEL_WIDTH
        y0 = height + index // ACROSS * PANEL_HEIGHT
        parts.append(f'<g transform="translate({x0},{y0})">{_panel(across, y, own, colours)}</g>')
    return picture(WIDTH, height + -(-len(axes) // ACROSS) * PANEL_HEIGHT, parts)


def parameter_axes(trials: Sequence[Trial]) -> tuple[Across, ...]:
    """Of each parameter whose value differs between the trials; logarithmic where positive values
    span more than ``LOG_SPAN`` times, one place a value where they are not all numbers."""
    names = dict.fromkeys(name for trial in trials for name in trial.parameters)
    columns = {n: [_plain(trial.parameters.get(n)) for trial in trials] for n in names}
    return tuple(_axis(n, values) for n, values in columns.items() if len(set(values)) > 1)


def _axis(name: str, values: Sequence[Any]) -> Across:
    if not all(_is_number(value) for value in values):
        return _choices(name, values)
    low, high = float(min(values)), float(max(values))
    if low > 0 and high / low > LOG_SPAN:
        powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
        shown = [10.0**power for power in powers][:: -(-len(powers) // MOST_LABELS)]
        shown = shown if len(shown) > 1 else [low, high]
        labels = tuple((math.log10(value), f"{value:.3g}") for value in shown)
        places = tuple(math.log10(value) for value in values)
        return Across(f"{name} (log)", places, (math.log10(low), math.log10(high)), labels)
    shown = ticks(low, high)
    shown = shown[:: -(-len(shown) // MOST_LABELS)]
    labels = tuple((value, f"{value:.3g}") for value in shown)
    return Across(name, tuple(float(value) for value in values), (low, high), labels)


def _choices(name: str, values: Sequence[Any]) -> Across:
    try:
        kinds = sorted(set(values))
    except TypeError:
        kinds = sorted(set(values), key=str)
    fitting = max(1, LABEL_CHARACTERS // (1 + max(len(_short(kind)) for kind in kinds)))
    step = -(-len(kinds) // fitting)
    labels = tuple((float(i), _short(kinds[i])) for i in range(0, len(kinds), step))
    places = tuple(float(kinds.index(value)) for value in values)
    return Across(name, places, (-0.5, len(kinds) - 0.5), labels)


def _panel(
    across: Across,
    y: tuple[float, float],
    trials: Sequence[Trial],
    colours: Mapping[str, str],
) -> str:
    frame = Frame(across.edges, y, PANEL_WIDTH, PANEL_HEIGHT, left=56, margin=34)
    right, bottom = PANEL_WIDTH - frame.margin / 2, PANEL_HEIGHT - frame.margin
    parts = [label(frame.left, 16, across.name)]
    for value in ticks(*y)[::2]:
        place = frame.point(across.edges[0], value)[1]
        parts.append(f'<path d="M{frame.left},{place:.1f} H{right}" stroke="{GRID}"/>')
        parts.append(label(frame.left - 6, place + 4, f"{value:.3g}", "end"))
    for at, text in across.labels:
        parts.append(label(frame.point(at, y[0])[0], bottom + 18, text, "middle"))
    pairs = zip(across.places, trials, strict=True)
    parts += [_mark(frame, place, trial, colours) for place, trial in pairs]
    return "\n".join(parts)


def _mark(frame: Frame, at: float, trial: Trial, colours: Mapping[str, str]) -> str:
    """A trial at ``at`` of the x axis; one without a finite loss, or a far one, at the top."""
    loss, colour = _loss(trial), colours[trial.family]
    high = frame.y[1]
    x, y = frame.point(at, high if loss is None else min(loss, high))
    title = f"<title>{escape(_told(trial))}</title>"
    if loss is None and not trial.pruned:
        arms = f"M{x - 4:.1f},{y - 4:.1f} l8,8 m0,-8 l-8,8"
        return (
            f'<path class="diverged" d="{arms}" stroke="{colour}" stroke-width="2">{title}</path>'
        )
    kind = "pruned" if trial.pruned else "finished"
    fill = f'fill="{"white" if trial.pruned else colour}" stroke="{colour}" stroke-width="1.5"'
    if loss is None or loss > high:
        corners = f"M{x:.1f},{y - 5:.1f} l5,8 h-10 z"
        return f'<path class="{kind} clipped" d="{corners}" {fill}>{title}</path>'
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5" {fill}>{title}</circle>'


def _running_best(frame: Frame, trials: Sequence[Trial]) -> str:
    """A step line from the first finished trial on; nothing where none finished."""
    best = math.inf
    steps: list[tuple[int, float]] = []
    for number, trial in enumerate(trials, start=1):
        loss = _loss(trial)
        if trial.finished and loss is not None and loss < best:
            if steps:
                steps.append((number, best))
            best = loss
            steps.append((number, best))
    if not steps:
        return ""
    steps.append((len(trials), best))
    points = [frame.point(n, min(loss, frame.y[1])) for n, loss in steps]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="best" fill="none" stroke="{INK}" stroke-width="1.5" points="{line}"/>'


def _loss_range(trials: Sequence[Trial]) -> tuple[float, float]:
    found = sorted(loss for loss in map(_loss, trials) if loss is not None)
    if not found:
        return 0.0, 1.0
    low, high = found[0], found[-1]
    usual = float(np.quantile(found, CLIPPED_SHARE, method="lower"))
    if high - low > FAR * (usual - low) and usual > low:
        high = usual
    elif len(found) > 1 and usual == low and high > 10 * max(abs(low), 1e-9):
        high = low
    return low, high if high > low else low + (0.1 * abs(low) or 1.0)


def _legend(colours: Mapping[str, str]) -> tuple[list[str], int]:
    """The parts, and how many pixels they take from the top."""
    parts = [label(12, 16, MARKS)]
    x, y = 12, 16 + STRIP
    for family, colour in colours.items():
        wide = 30 + 7 * min(len(family), 40)
        if x + wide > WIDTH:
            x, y = 12, y + STRIP
        parts.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
        parts.append(label(x + 16, y, _short(family, 40)))
        x += wide
    return parts, y + 8


def _loss(trial: Trial) -> float | None:
    return trial.loss if trial.loss is not None and math.isfinite(trial.loss) else None


def _told(trial: Trial) -> str:
    values = ", ".join(f"{name}={_short(v, 40)}" for name, v in trial.parameters.items())
    loss = _loss(trial)
    ended = "no finite loss" if loss is None else f"loss {loss:.5g}"
    return f"{trial.family}: {ended}; {values}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _plain(value: Any) -> Any:
    """As a value that a set takes."""
    return tuple(_plain(one) for one in value) if isinstance(value, (list, tuple)) else value


def _short(value: Any, most: int = 10) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = "x".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"
