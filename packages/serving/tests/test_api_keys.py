"""API keys: what a store does, and what the edge is told."""

from __future__ import annotations

import threading

import pytest

from agentloop.contracts import ApiKeyRefused
from agentloop.serving.edge.api_keys import (
    MemoryKeyStore,
    Rate,
    create_key,
    digest_of,
    find_key,
    map_entries,
)
from agentloop.serving.edge.sqlite_key_store import SqliteKeyStore

NOW = 1000.0


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    return MemoryKeyStore() if request.param == "memory" else SqliteKeyStore(tmp_path / "keys.db")


def test_keys_come_back_as_they_were_in_their_order(store):
    first, _ = create_key(store, "b", NOW, rate=Rate(20, 60), tester=True, days=2)
    second, _ = create_key(store, "a", NOW)
    assert store.all() == (first, second)
    assert first.expires_at == NOW + 2 * 86_400


def test_a_name_is_never_given_twice_not_even_after_its_key_was_revoked(store):
    create_key(store, "a", NOW)
    store.revoke("a", NOW)
    with pytest.raises(ApiKeyRefused):
        create_key(store, "a", NOW)
    assert len(store.all()) == 1


def test_a_key_is_revoked_once(store):
    create_key(store, "a", NOW)
    assert store.revoke("a", NOW + 1) == store.revoke("a", NOW + 2)
    with pytest.raises(ApiKeyRefused):
        store.revoke("b", NOW)


def test_two_who_create_the_same_name_at_once_do_not_both_succeed(store):
    made, refused = [], []

    def create():
        try:
            made.append(create_key(store, "a", NOW))
        except ApiKeyRefused as error:
            refused.append(error)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 3)


def test_tokens_have_256_bits_and_no_two_are_alike():
    tokens = {create_key(MemoryKeyStore(), "a", NOW)[1] for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) == len("al_") + 43 for token in tokens)


def test_only_the_valid_are_found_and_told_to_the_edge(store):
    _, token = create_key(store, "a", NOW, rate=Rate(100, 1))
    _, brief = create_key(store, "b", NOW, tester=True, days=1)
    _, gone = create_key(store, "c", NOW)
    store.revoke("c", NOW)
    assert [find_key(store, t, NOW) is not None for t in (token, brief, gone, "x")] == [
        True,
        True,
        False,
        False,
    ]
    assert map_entries(store.all(), NOW) == {
        digest_of(token): "a:100:1:0",
        digest_of(brief): "b:0:0:1",
    }
    assert list(map_entries(store.all(), NOW + 86_400)) == [digest_of(token)]


@pytest.mark.parametrize("text", ["100/s", "20/m", "5000/h"])
def test_a_rate_reads_as_it_is_written(text):
    assert str(Rate.parse(text)) == text


@pytest.mark.parametrize("text", ["", "100", "0/s", "-1/s", "1/d", "1.5/s", "1/s ", "99999999/s"])
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(ValueError, match="is no rate"):
        Rate.parse(text)
