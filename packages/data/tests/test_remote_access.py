"""Which hosts may be reached when the operator keeps a list of them."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from agentloop.contracts import RemoteForbidden, SourceUnreadable
from agentloop.data.remote_access import allowed_addresses, check_remote, forbidden_reason

LISTED = "db.example.com, *.data.example.com, 10.1.0.0/16, 192.168.7.9, fd00:1::/32"
PUBLIC = "93.184.216.34"


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("db.example.com", [PUBLIC]),
        ("DB.Example.COM.", [PUBLIC, "2606:2800:220:1::1"]),
        ("a.b.data.example.com", [PUBLIC]),
        ("10.1.2.3", ["10.1.2.3"]),
        ("db.example.com", [PUBLIC, "192.168.7.9"]),
        ("unlisted.example.org", ["10.1.2.3"]),
        ("[fd00:1::5]", ["fd00:1::5"]),
        ("::ffff:10.1.2.3", ["::ffff:10.1.2.3"]),
    ],
)
def test_a_listed_host_is_allowed(host: str, addresses: list[str]) -> None:
    assert forbidden_reason(host, addresses, LISTED) is None


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("evil.org", [PUBLIC]),
        ("db.example.com.evil.org", [PUBLIC]),
        ("notdb.example.com", [PUBLIC]),
        ("data.example.com", [PUBLIC]),
        ("evildata.example.com", [PUBLIC]),
        (PUBLIC, [PUBLIC]),
        ("10.2.0.1", ["10.2.0.1"]),
        ("evil.org", [PUBLIC, "10.1.2.3"]),
        ("db.example.com", []),
    ],
)
def test_a_host_outside_the_list_is_not(host: str, addresses: list[str]) -> None:
    assert forbidden_reason(host, addresses, LISTED)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.7.8", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1%2"),
        *("fd00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "2001:db8::1"),
        *("64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1", "fe80::1"),
    ],
)
def test_a_listed_name_that_leads_to_a_private_address_is_not(address: str) -> None:
    reason = forbidden_reason("db.example.com", [PUBLIC, address], LISTED)
    assert reason
    assert "no public address" in reason


def test_every_form_of_an_address_is_the_address() -> None:
    for form in ("2130706433", "0x7f000001", "127.1", "017700000001"):
        with pytest.raises(RemoteForbidden, match="no public address"):
            check_remote(form, 80, "db.example.com," + form + ".", "s3://bucket")


def test_without_a_list_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", None)
    assert allowed_addresses("any", 80, None, "s3://bucket") == ()


def test_an_empty_list_allows_nothing() -> None:
    with pytest.raises(RemoteForbidden):
        check_remote("127.0.0.1", 80, "", "s3://bucket")


def test_all_answers_of_the_name_server_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(host: str, port: int, **_: Any) -> list[Any]:
        return [(0, 0, 0, "", (a, port)) for a in (PUBLIC, "127.0.0.1", PUBLIC)]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    with pytest.raises(RemoteForbidden, match=r"127\.0\.0\.1"):
        check_remote("db.example.com", 5432, LISTED, "postgresql://db.example.com/d")
    listed = f"{LISTED},127.0.0.1"
    assert allowed_addresses("db.example.com", 5432, listed, "x") == (PUBLIC, "127.0.0.1")


def test_a_host_without_an_address_is_told() -> None:
    with pytest.raises(SourceUnreadable, match="has no address"):
        check_remote("no.such.host.invalid", 80, LISTED, "s3://bucket")
