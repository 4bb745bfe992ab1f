"""``agentloop data``: the versions of a dataset. Joins no cluster."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentloop.cli.context import Context
    from agentloop.contracts.data import DataProfile, DatasetVersion
    from agentloop.data.history import Acceptance

NOTHING_YET = "Nothing was accepted yet. Start with: agentloop ingest <loop.yaml>"
REFERENCE = "the beginning of a version, latest, or latest~1 for the one before"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(print_usage=parser.print_usage)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    log = _add(actions, "log", "show which versions were accepted, the last one first")
    log.add_argument("name", nargs="?", help="a dataset; without it, all of them")
    log.add_argument("--limit", type=_count, default=20, help="how many to show (20)")
    diff = _add(actions, "diff", "compare two versions: rows, schema and the values of columns")
    diff.add_argument("name", help="the dataset")
    diff.add_argument("before", metavar="A", help=REFERENCE)
    diff.add_argument("after", metavar="B", nargs="?", default="latest", help="latest by default")
    checkout = _add(actions, "checkout", "put a version's files into a folder, bit for bit")
    checkout.add_argument("name", help="the dataset")
    checkout.add_argument("version", help=REFERENCE)
    checkout.add_argument("folder", metavar="DIR", help="a folder that is empty or not there")
    profile = _add(actions, "profile", "print where the page of a version's profile is")
    profile.add_argument("name", help="the dataset")
    profile.add_argument("version", nargs="?", default="latest", help=REFERENCE)
    _add(actions, "push", "push all versions, also those from before data.remote was changed")


def run(context: Context) -> int:
    """Raises DataVersionNotFound, VersioningFailed, DiskFull."""
    action = _ACTIONS.get(context.options.action)
    if action is None:
        context.options.print_usage(sys.stderr)
        return 2
    return action(context)


def _add(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    command = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    # Also taken after the action; suppressed defaults leave those given before it.
    command.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print the result as JSON"
    )
    command.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS,
        help="show tracebacks and logs",
    )
    return command


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return count


def _log(context: Context) -> int:
    from agentloop.contracts import to_dict
    from agentloop.data.history import datasets

    name, limit = context.options.name, context.options.limit
    names = [name] if name else datasets(_data_dir(context))
    found = [accepted for each in names for accepted in _history(context, each)]
    found.sort(key=lambda accepted: accepted.accepted_at)
    shown = found[: -limit - 1 : -1]
    if context.options.json:
        context.print_json([to_dict(accepted) for accepted in shown])
    elif not shown:
        print(NOTHING_YET, file=sys.stderr)
    else:
        from agentloop.cli.rich_data import print_log

        print_log(shown, context.result, with_dataset=not name)
        if len(found) > limit:
            print(f"{len(found) - limit} more: --limit {len(found)}", file=sys.stderr)
    return 0


def _diff(context: Context) -> int:
    from agentloop.contracts import to_dict
    from agentloop.data.version_diff import compare_versions

    options = context.options
    before, profile_before = _version(context, options.before)
    after, profile_after = _version(context, options.after)
    diff = compare_versions(before, after, profile_before, profile_after)
    if options.json:
        context.print_json(to_dict(diff))
    else:
        from agentloop.cli.rich_data import print_diff

        print_diff(diff, context.result)
    return 0


def _checkout(context: Context) -> int:
    from agentloop.contracts import to_dict
    from agentloop.data.arrow_checkout import checkout_version

    options = context.options
    version = _resolved(context, options.version)
    done = checkout_version(_data_dir(context), options.name, version, Path(options.folder))
    if options.json:
        context.print_json(to_dict(done))
        return 0
    how = {
        "versions": "from the versions folder",
        "dvc": "from DVC: the versions folder does not have it whole",
        "there": "was there already",
    }
    context.print(done.folder)
    told = f"{options.name} {version}: {done.version.rows:,} rows, {done.files} files"
    print(f"{told}, {how[done.origin]}; content hash verified", file=sys.stderr)
    return 0


def _profile(context: Context) -> int:
    from agentloop.contracts import to_dict

    version, profile = _version(context, context.options.version)
    if context.options.json:
        context.print_json(to_dict(profile))
    else:
        context.print(str(Path(version.uri) / "profile.html"))
    return 0


def _push(context: Context) -> int:
    from agentloop.data.dvc_versions import push_all

    pushed = push_all(_data_dir(context))
    if context.options.json:
        context.print_json({"remote": pushed.remote, "files": pushed.files})
    elif not pushed.remote:
        print(NOTHING_YET, file=sys.stderr)
    else:
        context.print(f"{pushed.files} files pushed to {pushed.remote}")
    return 0


_ACTIONS: dict[str, Callable[[Context], int]] = {
    "log": _log,
    "diff": _diff,
    "checkout": _checkout,
    "profile": _profile,
    "push": _push,
}


def _data_dir(context: Context) -> Path:
    return context.home.root / "data"


def _history(context: Context, name: str) -> tuple[Acceptance, ...]:
    """Of a dataset that is there, oldest first. Raises DataVersionNotFound."""
    import difflib

    from agentloop.contracts import DataVersionNotFound
    from agentloop.data.history import datasets
    from agentloop.data.version_store import VersionStore

    names = datasets(_data_dir(context))
    if name not in names:
        near = difflib.get_close_matches(name, names, n=len(names) + 1, cutoff=0.4)
        raise DataVersionNotFound(name, "", tuple(dict.fromkeys((*near, *names))))
    return VersionStore(_data_dir(context), name).log()


def _resolved(context: Context, reference: str) -> str:
    from agentloop.data.history import resolve

    name = context.options.name
    return resolve(name, reference, _history(context, name))


def _version(context: Context, reference: str) -> tuple[DatasetVersion, DataProfile]:
    from agentloop.data.pinned import find_version

    return find_version(_data_dir(context), context.options.name, _resolved(context, reference))
