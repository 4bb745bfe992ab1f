"""``agentloop keys``, as typed."""

from __future__ import annotations

import io
import json
import stat
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from agentloop.cli import keys_command
from agentloop.cli.context import Context
from agentloop.cli.main import build_parser
from agentloop.contracts import ApiKeyRefused
from agentloop.loop.home import StateFolder
from agentloop.serving.edge.api_keys import find_key
from agentloop.serving.edge.sqlite_key_store import KEYS_FILE, SqliteKeyStore


def typed(root: Path, *arguments: str) -> tuple[int, str]:
    """The exit code and stdout."""
    options: Namespace = build_parser().parse_args(["keys", *arguments])
    result = io.StringIO()
    code = keys_command.run(Context(options, StateFolder(root), {}, result))
    return code, result.getvalue()


def typed_json(root: Path, *arguments: str) -> Any:
    return json.loads(typed(root, *arguments, "--json")[1])


def test_a_key_is_printed_once_and_found_again_by_its_hash(tmp_path: Path) -> None:
    code, text = typed(tmp_path, "create", "billing", "--rate", "100/s")
    token = text.strip()
    assert code == 0
    key = find_key(SqliteKeyStore(tmp_path / KEYS_FILE), token, time.time())
    assert key is not None
    assert (key.name, str(key.rate), key.tester) == ("billing", "100/s", False)
    assert token not in typed(tmp_path, "list")[1]


def test_nothing_of_the_key_is_at_rest_and_only_the_owner_reads_the_store(tmp_path: Path) -> None:
    token = typed_json(tmp_path, "create", "billing")["key"]
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert token.encode() not in path.read_bytes()
    assert stat.S_IMODE((tmp_path / KEYS_FILE).stat().st_mode) == 0o600


def test_the_list_tells_valid_from_ended(tmp_path: Path) -> None:
    for name, more in (("a", ()), ("b", ("--tester",)), ("c", ("--expires", "1e-9"))):
        typed(tmp_path, "create", name, *more)
    assert typed(tmp_path, "revoke", "a")[1] == "a is revoked.\n"
    rows = typed_json(tmp_path, "list")
    assert [(row["name"], row["state"], row["tester"]) for row in rows] == [
        ("a", "revoked", False),
        ("b", "valid", True),
        ("c", "expired", False),
    ]
    assert "tester" in typed(tmp_path, "list")[1].splitlines()[1]


def test_a_revoked_key_is_found_no_more(tmp_path: Path) -> None:
    token = typed_json(tmp_path, "create", "billing")["key"]
    typed(tmp_path, "revoke", "billing")
    assert find_key(SqliteKeyStore(tmp_path / KEYS_FILE), token, time.time()) is None


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("create", "billing"), "there is, or was, a key of this name"),
        (("create", "two words"), "a name has"),
        (("create", "a:1:1:1"), "a name has"),
        (("create", "x", "--rate", "fast"), "is no rate"),
        (("create", "x", "--rate", "0/s"), "is no rate"),
        (("create", "x", "--expires", "-1"), "would expire"),
        (("revoke", "nobody"), "no key of this name"),
    ],
)
def test_what_cannot_be_is_refused_with_words(
    tmp_path: Path, arguments: tuple[str, ...], reason: str
) -> None:
    typed(tmp_path, "create", "billing")
    with pytest.raises(ApiKeyRefused, match=reason):
        typed(tmp_path, *arguments)
    assert [row["name"] for row in typed_json(tmp_path, "list")] == ["billing"]


def test_without_an_action_it_says_how_it_is_used(tmp_path: Path) -> None:
    assert typed(tmp_path)[0] == 2
