"""Plans and rollouts, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agentloop.contracts import DeploymentResult
from agentloop.serving import (
    RolloutEvent,
    RolloutPlan,
    RolloutView,
    StageView,
    describe,
    held_to,
    label,
)
from agentloop.serving.rollout.page import tests_of

BAR = 24
_MARKS = {
    "done": ("✓", "green"),
    "current": ("▸", "yellow"),
    "waiting": ("·", "dim"),
    "failed": ("✗", "red"),
}


def print_plan(plan: RolloutPlan, stream: TextIO) -> None:
    """The stages, and what the judge holds the version to."""
    console = _console(stream)
    if not plan.stages:
        console.print(f"{plan.model}: {plan.version} has all traffic already.")
        return
    over = f"takes over from {plan.stable}" if plan.stable else "is the first version"
    console.print(f"{plan.model}: {plan.version} {over} ({plan.strategy})")
    table = Table(box=None, padding=(0, 1), show_header=False)
    for stage in plan.stages:
        table.add_row(label(stage), describe(stage))
    console.print(table)
    if plan.stable is None:
        return
    console.print("The judge holds it to:")
    for claim in held_to(plan.settings):
        console.print(f"  {claim}")
    waits = "probes with held-out rows" if plan.settings.probe else "waits for traffic"
    console.print(
        f"Where evidence is missing it {waits}, at most "
        f"{plan.settings.max_wait_seconds:g} s a share; then it is held, and stable has all."
    )


def tell_event(event: RolloutEvent, stream: TextIO) -> None:
    """One event of a rollout under way, as it happens."""
    if event.kind == "intent":
        return
    detail = event.detail
    said = "; ".join(str(reason) for reason in detail.get("reasons", ())[:1])
    mark = "…" if event.kind == "effect" else "✓"
    if detail.get("verdict") in ("hold", "rollback"):
        mark = "✗"
    seconds = f" {detail['seconds']:.1f} s" if "seconds" in detail else ""
    print(f"  {mark} {event.action}{seconds}  {said}".rstrip(), file=stream, flush=True)


def print_result(model: str, result: DeploymentResult, stream: TextIO) -> None:
    """How it ended."""
    console = _console(stream)
    said = {
        "completed": "has all traffic",
        "held": "was held: stable has all traffic",
        "rolled_back": "was rolled back: stable has all traffic",
        "aborted": "was aborted: stable has all traffic",
        "failed": "failed",
    }[result.status]
    console.print(f"{model}: {result.model_version} {said}.")
    for reason in result.reasons:
        console.print(Text(f"  {reason}"))
    if result.metrics:
        told = ", ".join(f"{name} {value:g}" for name, value in result.metrics.items())
        console.print(Text(f"  {told}", style="dim"))
    if result.status == "completed":
        console.print(f"  {result.endpoint}")
    else:
        console.print(f"  Next: agentloop rollout history {model}")


def print_view(view: RolloutView, stream: TextIO) -> None:
    """A rollout as it stands: weights as bars, stages, the judge's evidence as bars."""
    console = _console(stream)
    console.print(f"{view.model} {view.version}: {view.headline} ({view.strategy or 'rollback'})")
    for version, weight in view.weights.items():
        shadow = "  (shadow: gets copies, answers nobody)" if version == view.shadow else ""
        console.print(Text(f"  {_bar(weight / 100)} {weight:5.1f}%  {version}{shadow}"))
    lease = f", lease ends in {view.lease_seconds:.1f} s" if view.is_live else ""
    console.print(Text(f"  epoch {view.epoch}{lease}", style="dim"))
    if view.stages:
        console.print(_stages(view.stages))
    for name, value, bound in tests_of(dict(view.numbers)):
        share = max(0.0, min(1.0, value / bound))
        line = f"  {_bar(share)} {value:6.2f} of {bound:5.2f}  {name.replace('_', ' ')}"
        console.print(Text(line, style="red" if share >= 1 and name != "not_inferior" else ""))
    for reason in view.reasons:
        console.print(Text(f"  {reason}"))
    if view.state == "running" and not view.is_live:
        console.print(f"Next: agentloop rollout apply {view.model} {view.version}, or abort")


def print_history(views: Sequence[RolloutView], stream: TextIO) -> None:
    """Each rollout with its decisions, the last one first."""
    console = _console(stream)
    for view in views:
        took = f", {view.ended_at - view.started_at:.1f} s" if view.ended_at is not None else ""
        came = f" after {view.previous}" if view.previous else ""
        console.print(
            Text(f"{_time(view.started_at)}  {view.version}{came}: {view.headline}{took}")
        )
        console.print(
            Text(f"  {view.strategy or 'rollback'}, deployment {view.deployment_id}", style="dim")
        )
        for stage in view.stages:
            if stage.verdict:
                console.print(Text(f"  {stage.name}: {stage.verdict}. {'; '.join(stage.reasons)}"))
        for event in view.events:
            if event.kind == "done" and event.action in _TOLD:
                console.print(Text(f"  {event.action}{_detail(event.detail)}"))
        if not view.stages:
            for reason in view.reasons:
                console.print(Text(f"  {reason}"))


_TOLD = ("paused", "resumed", "notice", "lease lost: begun again", "retired")


def _detail(detail: Mapping[str, object]) -> str:
    said = [str(detail[name]) for name in ("by", "summary", "version") if detail.get(name)]
    return f": {'; '.join(said)}" if said else ""


def _stages(stages: Sequence[StageView]) -> Table:
    table = Table(box=None, padding=(0, 1), show_header=False)
    for stage in stages:
        mark, colour = _MARKS[stage.state]
        seconds = f"{stage.seconds:.1f} s" if stage.seconds is not None else ""
        said = stage.reasons[0] if stage.reasons else stage.text
        table.add_row(Text(mark, style=colour), stage.name, seconds, Text(said, style="dim"))
    return table


def _bar(share: float) -> str:
    full = round(BAR * max(0.0, min(1.0, share)))
    return "█" * full + "░" * (BAR - full)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _console(stream: TextIO) -> Console:
    return Console(file=stream, highlight=False, soft_wrap=True)
