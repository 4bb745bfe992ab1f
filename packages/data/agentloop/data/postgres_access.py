"""How a PostgreSQL server is reached: its URL checked, and its address held to the one checked."""

from __future__ import annotations

import os
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from agentloop.contracts.errors import RemoteForbidden, SourceUnreadable
from agentloop.data.remote_access import REMOTE_SOURCES_ENV, allowed_addresses
from agentloop.data.sql_url import scrubbed

CONNECT_TIMEOUT_S = 10
_SECRETS = ("password", "sslpassword", "oauth_client_secret")


def connection_facts(url: str, allowed: str | None, shown: str) -> tuple[dict[str, Any], str]:
    """The arguments of ``psycopg.connect``, and the password ("" where the URL has none), which no
    message may hold. Raises SourceUnreadable, RemoteForbidden."""
    place = url.partition("://")[2].partition("?")[0]
    try:
        # libpq would take what stands behind a stray @ or / of a password for a host, and show it.
        if place.count("@") > 1 or "@" in place.partition("/")[2]:
            raise ValueError
        facts: dict[str, Any] = conninfo_to_dict(url)
    except (psycopg.Error, ValueError) as error:
        # libpq quotes what it could not read, which may be a part of the password.
        reason = "its URL cannot be read"
        if "@" not in url:
            reason += f" ({scrubbed(str(error), None)})"
        step = (
            "write postgresql://user:password@host:5432/database; in the password @ is %40, / %2F"
        )
        raise SourceUnreadable(shown, reason, next_step=step) from None
    secret = next((str(facts[k]) for k in _SECRETS if facts.get(k)), "")
    facts.setdefault("connect_timeout", CONNECT_TIMEOUT_S)
    facts.setdefault("application_name", "agentloop")
    # A pooler hands each transaction another session, which has not the prepared statements.
    facts.update(client_encoding="utf8", prepare_threshold=None)
    if allowed is not None:
        facts.update(_held_to(facts, allowed, shown))
    return facts, secret


def _held_to(facts: dict[str, Any], allowed: str, shown: str) -> dict[str, str]:
    """Host, address and port of each server, with the addresses that were checked. libpq takes
    several hosts, and addresses beside them; all must be allowed."""
    if facts.get("service") or os.environ.get("PGSERVICE"):
        reason = f"a service file hides the host, which {REMOTE_SOURCES_ENV} must know"
        raise RemoteForbidden(shown, reason, next_step="name the host in the URL")
    hosts = _listed(facts, "host", "PGHOST")
    given = _listed(facts, "hostaddr", "PGHOSTADDR")
    hosts = hosts or given
    ports = _listed(facts, "port", "PGPORT") or ["5432"]
    if len(ports) == 1:
        ports *= max(len(hosts), 1)
    if len(ports) != max(len(hosts), 1) or (given and len(given) != len(hosts)):
        raise SourceUnreadable(shown, "its URL has not as many ports or addresses as hosts")
    names, addresses, held_ports = [], [], []
    for index, (host, port) in enumerate(zip(hosts or [""], ports, strict=True)):
        local = not host or host.startswith(("/", "@"))
        reached = given[index] if given and given[index] else host
        if local and reached == host:
            found: tuple[str, ...] = ("",)  # a socket of this machine
        else:
            found = _addresses(reached, host, port, allowed, shown)
        names += [host] * len(found)
        held_ports += [port] * len(found)
        addresses += list(found)
    return {
        "host": ",".join(names),
        "hostaddr": ",".join(addresses),
        "port": ",".join(held_ports),
    }


def _addresses(reached: str, host: str, port: str, allowed: str, shown: str) -> tuple[str, ...]:
    try:
        number = int(port or 5432)
    except ValueError:
        raise SourceUnreadable(shown, "its port is no number") from None
    return allowed_addresses(reached or host, number, allowed, shown)


def _listed(facts: dict[str, Any], key: str, variable: str) -> list[str]:
    value = str(facts.get(key) or os.environ.get(variable) or "")
    return value.split(",") if value else []
