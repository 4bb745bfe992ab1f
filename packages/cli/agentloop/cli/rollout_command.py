"""``agentloop rollout``: a rollout as data, and an operator's hands on it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentloop.cli.context import Context
    from agentloop.serving import RolloutPlan, RolloutView

STRATEGIES = ("canary", "linear", "blue-green", "shadow", "ab")
WATCH_SECONDS = 0.5
CLEAR = "\033[H\033[2J"
NOT_PROMOTED = 61  # as DeploymentError: the version does not have the traffic
MODEL = "the name in loop.yaml; without it, the model of --file"
VERSION = "a version or its beginning; without it, the newest that the gate let through"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(print_usage=parser.print_usage)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    plan = _add(actions, "plan", "print what a rollout would do; nothing is saved or started")
    plan.add_argument("version", nargs="?", help=VERSION)
    plan.add_argument("--strategy", choices=STRATEGIES, help="another than rollout.strategy")
    apply = _add(actions, "apply", "roll a version out, or go on with its rollout")
    apply.add_argument("version", nargs="?", help=VERSION)
    apply.add_argument("--strategy", choices=STRATEGIES, help="another than rollout.strategy")
    apply.add_argument(
        "--plan", type=Path, metavar="FILE", help="exactly this plan (plan --json > FILE)"
    )
    status = _add(actions, "status", "show the last rollout: weights, lease, what the judge says")
    status.add_argument("--watch", action="store_true", help="show it until it ends")
    status.add_argument("--html", type=Path, metavar="FILE", help="write it as a page as well")
    _add(actions, "pause", "hold the weights; evidence against the version still rolls it back")
    _add(actions, "resume", "go on with a paused rollout")
    _add(actions, "abort", "give all traffic back to the stable version at once")
    labels = _add(actions, "labels", "tell the judge how many of a version's answers proved right")
    labels.add_argument(
        "--version", required=True, help="the version that answered, or its beginning"
    )
    labels.add_argument("--correct", type=int, required=True, help="how many were right")
    labels.add_argument("--total", type=int, required=True, help="of how many whose truth is known")
    history = _add(actions, "history", "show past rollouts, each decision with its numbers")
    history.add_argument("--limit", type=int, default=10, help="how many to show (10)")


def run(context: Context) -> int:
    """Raises NoRollout, PlanOutdated, ModelNotServed, VersionNotFound, SpecError, and what a
    rollout raises; 61 when the version did not get the traffic."""
    action = _ACTIONS.get(context.options.action)
    if action is None:
        context.options.print_usage(sys.stderr)
        return 2
    return action(context)


def _add(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    command = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.add_argument("model", nargs="?", help=MODEL)
    command.add_argument(
        "--file", type=Path, default=Path("loop.yaml"), help="the loop.yaml (./loop.yaml)"
    )
    # Also taken after the action; suppressed defaults leave those given before it.
    for flag, help_text in (("json", "print the result as JSON"), ("debug", "show tracebacks")):
        command.add_argument(
            f"--{flag}", action="store_true", default=argparse.SUPPRESS, help=help_text
        )
    return command


def _plan(context: Context) -> int:
    from agentloop.contracts import to_dict

    plan = _made(context)
    if context.options.json:
        context.print_json(to_dict(plan))
    else:
        from agentloop.cli.rich_rollout import print_plan

        print_plan(plan, context.result)
        if plan.stages:
            print(f"Next: agentloop rollout apply {plan.model} {plan.version}", file=sys.stderr)
    return 0


def _apply(context: Context) -> int:
    from agentloop.cli.rich_rollout import print_result, tell_event
    from agentloop.contracts import to_dict
    from agentloop.loop.rollouts import apply_plan, read_plan, spec_of

    options = context.options
    plan = read_plan(options.plan) if options.plan else _made(context)
    spec = spec_of(context.home, plan.model, options.file)
    result = apply_plan(
        context.home, context.environment, spec, plan, lambda event: tell_event(event, sys.stderr)
    )
    if options.json:
        context.print_json(to_dict(result))
    else:
        print_result(plan.model, result, context.result)
    return 0 if result.status == "completed" else NOT_PROMOTED


def _status(context: Context) -> int:
    from agentloop.serving import rollout_page

    options = context.options
    model = _model(context)
    view = _view(context, model)
    while options.watch and view.state == "running" and view.is_live:
        _show(context, view, CLEAR if context.result.isatty() else "")
        time.sleep(WATCH_SECONDS)
        view = _view(context, model)
    _show(context, view)
    if options.html is not None:
        options.html.write_text(rollout_page(view, time.time()), encoding="utf-8")
        print(f"The page is {options.html}.", file=sys.stderr)
    return 0


def _show(context: Context, view: RolloutView, before: str = "") -> None:
    from agentloop.cli.rich_rollout import print_view
    from agentloop.contracts import to_dict

    if context.options.json:
        told = {**to_dict(view), "headline": view.headline}
        # Watched, a line each: the reader cannot know where an object ends otherwise.
        context.print(json.dumps(told, indent=None if context.options.watch else 2, default=str))
    else:
        print(before, end="", file=context.result)
        print_view(view, context.result)


def _history(context: Context) -> int:
    from agentloop.cli.rich_rollout import print_history
    from agentloop.contracts import to_dict
    from agentloop.serving import control_store, view_history

    model = _model(context)
    found = view_history(control_store(context.home.root), model, time.time())
    shown = found[: -context.options.limit - 1 : -1] if context.options.limit > 0 else ()
    if context.options.json:
        context.print_json([to_dict(view) for view in shown])
    elif shown:
        print_history(shown, context.result)
    else:
        print(f"There has been no rollout of {model}. Next: agentloop rollout apply {model}")
    return 0


def _order(context: Context) -> int:
    from agentloop.contracts import to_dict
    from agentloop.loop.rollouts import give_order

    order, model = context.options.action, _model(context)
    rollout, remarks = give_order(context.home, context.environment, model, order)
    if context.options.json:
        context.print_json({**to_dict(rollout), "remarks": list(remarks)})
        return 0
    said = {"pause": "is paused", "resume": "goes on", "abort": "was aborted"}[order]
    context.print(f"The rollout of {model} {rollout.version} {said}.")
    for remark in remarks:
        context.print(f"  {remark}")
    is_live = rollout.is_live(time.time())
    next_step = {
        "pause": f"agentloop rollout resume {model}, or abort",
        "resume": f"agentloop rollout status {model} --watch"
        if is_live
        else f"agentloop rollout apply {model} {rollout.version}",
        "abort": f"agentloop rollout history {model}",
    }[order]
    print(f"Next: {next_step}", file=sys.stderr)
    return 0


def _labels(context: Context) -> int:
    from agentloop.contracts.errors import ModelNotServed, NoRollout
    from agentloop.serving import control_store, report_labels

    options, model = context.options, _model(context)
    correct, total = options.correct, options.total
    if not 0 <= correct <= total:
        wanted = "--correct must be from 0 to --total"
        print(f"agentloop rollout labels: {wanted}, not {correct} of {total}", file=sys.stderr)
        return 2
    home = context.home.root
    served = sorted(s.version for s in control_store(home).staged() if s.model == model)
    meant = [version for version in served if version.startswith(options.version)]
    if len(meant) != 1:
        again = f"say --version with one of {', '.join(served)}"
        raise ModelNotServed(
            f"{model} {options.version}", next_step=again if served else "agentloop run <loop.yaml>"
        )
    version = meant[0]
    if not report_labels(home, model, version, correct=correct, total=total):
        reason = "no edge of it runs on this node, so nobody takes its labels"
        raise NoRollout(model, reason, next_step="agentloop up")
    told = {"model": model, "version": version, "correct": correct, "total": total}
    if options.json:
        context.print_json(told)
    else:
        context.print(f"{correct} of {total} answers of {model} {version} were right.")
        print(f"Next: agentloop rollout status {model}", file=sys.stderr)
    return 0


_ACTIONS: dict[str, Callable[[Context], int]] = {
    "plan": _plan,
    "apply": _apply,
    "status": _status,
    "pause": _order,
    "resume": _order,
    "abort": _order,
    "labels": _labels,
    "history": _history,
}


def _model(context: Context) -> str:
    from agentloop.loop.rollouts import which_model

    return which_model(context.home, context.options.model, context.options.file)


def _made(context: Context) -> RolloutPlan:
    from agentloop.loop.rollouts import plan_version, spec_of, with_strategy

    options, model = context.options, _model(context)
    spec = spec_of(context.home, model, options.file)
    settings = with_strategy(spec.rollout, options.strategy)
    return plan_version(context.home, model, options.version, settings)


def _view(context: Context, model: str) -> RolloutView:
    from agentloop.serving import control_store, view_rollout

    return view_rollout(control_store(context.home.root), model, time.time())
