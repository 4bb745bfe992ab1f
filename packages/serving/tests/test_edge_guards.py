"""The guards as data."""

from __future__ import annotations

import stat

import pytest

from agentloop.contracts import EdgeExposed, ServingSpec
from agentloop.serving.control.store import EdgeAddress
from agentloop.serving.edge.guards import (
    GUARDS_FILE,
    EdgeGuards,
    Inside,
    guards_of,
    load_guards,
    require_guarded,
    save_guards,
    with_inside,
)
from agentloop.serving.endpoints import control_store, inside_url

TLS = EdgeGuards(certificate="/c", key="/k", keys=True)


def test_guards_are_what_loop_yaml_asks_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = ServingSpec.model_validate(
        {
            "host": "0.0.0.0",
            "keys": True,
            "tls": {"certificate": "edge.crt", "key": "/etc/edge.key"},
            "max_body_mb": 2,
            "timeout_seconds": 5,
            "access_log": True,
        }
    )
    assert guards_of(spec) == EdgeGuards(
        max_body_bytes=2_000_000,
        timeout_seconds=5,
        keys=True,
        certificate=str(tmp_path / "edge.crt"),
        key="/etc/edge.key",
        access_log=True,
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "127.0.0.1.example"])
def test_strangers_need_keys_and_tls_or_an_explicit_word(host):
    for guards in (EdgeGuards(), EdgeGuards(keys=True), EdgeGuards(certificate="/c", key="/k")):
        with pytest.raises(EdgeExposed):
            require_guarded(host, guards)
    require_guarded(host, TLS)
    require_guarded(host, EdgeGuards(insecure=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_nothing(host):
    require_guarded(host, EdgeGuards())


def test_guards_outlive_a_process_and_are_for_their_owner_alone(tmp_path):
    assert load_guards(tmp_path) is None
    guards = with_inside(TLS, "0.0.0.0", None, 8701)
    save_guards(tmp_path, guards)
    assert load_guards(tmp_path) == guards
    assert stat.S_IMODE((tmp_path / GUARDS_FILE).stat().st_mode) == 0o600


def test_the_door_inside_is_there_where_the_public_one_asks_for_more(tmp_path):
    assert with_inside(EdgeGuards(), "127.0.0.1", None, 1).inside is None
    assert with_inside(EdgeGuards(insecure=True), "0.0.0.0", None, 1).inside is not None
    made = with_inside(EdgeGuards(keys=True), "127.0.0.1", None, 1)
    assert with_inside(TLS, "0.0.0.0", made, 2).inside == made.inside
    assert made.inside.secret not in made.inside.digest


def test_the_inside_url_is_the_public_one_where_that_asks_for_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("agentloop.serving.endpoints.run_dir", lambda _: tmp_path)
    control_store(tmp_path).put_address(EdgeAddress("127.0.0.1", 8700, 9000))
    assert inside_url(tmp_path) == "http://127.0.0.1:8700"
    save_guards(tmp_path, EdgeGuards(keys=True, inside=Inside(8701, "secret")))
    assert inside_url(tmp_path) == "http://127.0.0.1:8701/_inside/secret"
