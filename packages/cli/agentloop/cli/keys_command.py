"""``agentloop keys``: who may ask the edge."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentloop.cli.context import Context
    from agentloop.serving.edge.api_keys import ApiKey, KeyStore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(print_usage=parser.print_usage)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    create = _add(actions, "create", "make a key and print it, once")
    create.add_argument("name", help="whose it is; logs name it")
    create.add_argument("--rate", help="at most this many requests: 100/s, 20/m, 5000/h")
    create.add_argument(
        "--tester", action="store_true", help="may ask for a version (x-agentloop-version)"
    )
    create.add_argument("--expires", type=float, metavar="DAYS", help="ends after so many days")
    _add(actions, "list", "show the names, rates and ends of keys; never the keys")
    revoke = _add(actions, "revoke", "end a key; the edge refuses it within a second")
    revoke.add_argument("name", help="the name it was made with")


def _add(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    command = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    # Also taken after the action; suppressed defaults leave those given before it.
    for option, meaning in (
        ("--json", "print the result as JSON"),
        ("--debug", "show tracebacks and logs"),
    ):
        command.add_argument(option, action="store_true", default=argparse.SUPPRESS, help=meaning)
    return command


def run(context: Context) -> int:
    """Works with and without a running edge. Raises ApiKeyRefused."""
    from agentloop.serving.edge.sqlite_key_store import KEYS_FILE, SqliteKeyStore

    action = {"create": _create, "list": _list, "revoke": _revoke}.get(context.options.action)
    if action is None:
        context.options.print_usage(sys.stderr)
        return 2
    context.home.create()
    action(context, SqliteKeyStore(context.home.root / KEYS_FILE))
    return 0


def _create(context: Context, store: KeyStore) -> None:
    from agentloop.contracts import ApiKeyRefused
    from agentloop.serving.edge.api_keys import Rate, create_key

    options = context.options
    try:
        rate = Rate.parse(options.rate) if options.rate else None
    except ValueError as error:
        raise ApiKeyRefused(
            options.name, str(error), next_step="agentloop keys create -h"
        ) from None
    key, token = create_key(
        store, options.name, time.time(), rate=rate, tester=options.tester, days=options.expires
    )
    if options.json:
        context.print_json({**_row(key), "key": token})
        return
    context.print(token)
    print(
        f"This is the only time that {key.name}'s key is shown. "
        "Clients send it as authorization: Bearer KEY.",
        file=sys.stderr,
    )


def _list(context: Context, store: KeyStore) -> None:
    rows = [_row(key) for key in store.all()]
    if context.options.json:
        context.print_json(rows)
        return
    for row in rows:
        words = [row["state"], row["rate"] or "no limit", "tester" if row["tester"] else ""]
        if row["expires_at"] and row["state"] == "valid":
            words.append(f"until {row['expires_at'][:10]}")
        context.print(f"{row['name']:<24} {', '.join(word for word in words if word)}")
    if not rows:
        print("There are no keys. Next: agentloop keys create NAME", file=sys.stderr)


def _revoke(context: Context, store: KeyStore) -> None:
    key = store.revoke(context.options.name, time.time())
    if context.options.json:
        context.print_json(_row(key))
    else:
        context.print(f"{key.name} is revoked.")


def _row(key: ApiKey) -> dict[str, Any]:
    """A key as the command shows it; no part of the secret is among it."""
    now = time.time()
    state = "revoked" if key.revoked_at else "valid" if key.is_valid(now) else "expired"
    return {
        "name": key.name,
        "state": state,
        "rate": str(key.rate) if key.rate else None,
        "tester": key.tester,
        "created_at": _iso(key.created_at),
        "expires_at": _iso(key.expires_at),
        "revoked_at": _iso(key.revoked_at),
    }


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
