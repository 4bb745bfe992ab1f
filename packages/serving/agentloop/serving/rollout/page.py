"""A rollout as one HTML file: its share of the traffic over time, and what the judge saw."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape

from agentloop.serving.rollout.view import RolloutView, StageView

WIDTH, HEIGHT = 860, 220
LEFT, TOP = 46, 14
_MARKS = {"done": "✓", "current": "▸", "waiting": "·", "failed": "✗"}

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 920px; margin: 2rem auto; color: #222 }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ text-align: left; padding: .25rem .6rem .25rem 0; vertical-align: top }}
tr + tr td {{ border-top: 1px solid #eee }}
.quiet {{ color: #777 }} .failed {{ color: #b00020 }} .done {{ color: #146c2e }}
.bar {{ background: #eee; height: .6rem; width: 160px; border-radius: 3px }}
.bar div {{ background: #4472c4; height: 100%; border-radius: 3px }}
.bar div.over {{ background: #b00020 }}
</style>
<h1>{title}</h1>
<p>{headline}; {strategy}, deployment {deployment_id}, begun {began}</p>
{course}
<h2>Evidence</h2>{evidence}
<h2>Log</h2><table>{log}</table>
</html>
"""


def rollout_page(view: RolloutView, now: float) -> str:
    """The page; it needs no network and no script."""
    return _PAGE.format(
        title=escape(f"{view.model} {view.version}"),
        headline=escape(view.headline),
        strategy=escape(view.strategy or "rollback"),
        deployment_id=escape(view.deployment_id),
        began=_time(view.started_at),
        course=_course(view, now),
        evidence=_evidence(view),
        log="".join(
            f"<tr><td class=quiet>{_time(event.at)}</td><td>{event.kind}</td>"
            f"<td>{escape(event.action)}</td><td class=quiet>epoch {event.epoch}</td></tr>"
            for event in view.events
        ),
    )


def _course(view: RolloutView, now: float) -> str:
    """Shares and stages; a rollback by somebody's word went through none."""
    if not view.stages:
        return ""
    stages = "".join(_stage(stage) for stage in view.stages)
    return f"{share_chart(view, now)}\n<h2>Stages</h2><table>{stages}</table>"


def share_chart(view: RolloutView, now: float) -> str:
    """An SVG of the version's percent of the traffic, a step a change."""
    end = max(view.ended_at or now, view.started_at + 0.001)
    span = end - view.started_at

    def x(at: float) -> float:
        return LEFT + (WIDTH - LEFT) * min(1.0, max(0.0, (at - view.started_at) / span))

    def y(percent: float) -> float:
        return TOP + (HEIGHT - TOP - 20) * (1 - percent / 100)

    path, last = [f"M{x(view.started_at):.1f},{y(0):.1f}"], 0.0
    for at, percent in view.shares:
        path.append(f"H{x(at):.1f}V{y(percent):.1f}")
        last = percent
    path.append(f"H{x(end):.1f}")
    lines = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y(p):.1f}" y2="{y(p):.1f}" stroke="#e5e5e5"/>'
        f'<text x="{LEFT - 6}" y="{y(p) + 4:.1f}" text-anchor="end" font-size="11">{p}%</text>'
        for p in (0, 25, 50, 75, 100)
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="share of the traffic over {span:.1f} s, now {last:g}%">{lines}'
        f'<path d="{"".join(path)}" fill="none" stroke="#4472c4" stroke-width="2"/>'
        f'<text x="{WIDTH}" y="{HEIGHT - 4}" text-anchor="end" font-size="11">{span:.1f} s</text>'
        "</svg>"
    )


def tests_of(numbers: object) -> list[tuple[str, float, float]]:
    """``(test, log evidence, bound)`` for each of the judge's tests in its numbers."""
    found = numbers if isinstance(numbers, dict) else {}
    names = [name.removeprefix("log_e_") for name in found if name.startswith("log_e_")]
    return [
        (name, found[f"log_e_{name}"], found[f"bound_{name}"])
        for name in names
        if f"bound_{name}" in found
    ]


def _evidence(view: RolloutView) -> str:
    rows = [
        f"<tr><td>{escape(name.replace('_', ' '))}</td><td><div class=bar>"
        f'<div class="{"over" if value >= bound and name != "not_inferior" else ""}" '
        f'style="width:{100 * max(0.0, min(1.0, value / bound)):.0f}%"></div></div></td>'
        f"<td>{value:.2f} of {bound:.2f}</td></tr>"
        for name, value, bound in tests_of(dict(view.numbers))
    ]
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in view.reasons)
    return f"<ul>{reasons}</ul><table>{''.join(rows)}</table>"


def _stage(stage: StageView) -> str:
    seconds = f"{stage.seconds:.2f} s" if stage.seconds is not None else ""
    said = escape(stage.reasons[0]) if stage.reasons else ""
    return (
        f'<tr><td class="{stage.state}">{_MARKS[stage.state]} {escape(stage.name)}</td>'
        f"<td>{escape(stage.text)}</td><td>{seconds}</td><td class=quiet>{said}</td></tr>"
    )


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
