"""Which hosts a remote source may reach, where the operator keeps a list of them."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

from agentloop.contracts.errors import RemoteForbidden, SourceUnreadable

REMOTE_SOURCES_ENV = "AGENTLOOP_REMOTE_SOURCES"
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_remote(host: str, port: int, allowed: str | None, shown: str) -> None:
    """Raises RemoteForbidden unless ``host`` may be reached; see ``allowed_addresses``."""
    allowed_addresses(host, port, allowed, shown)


def allowed_addresses(host: str, port: int, allowed: str | None, shown: str) -> tuple[str, ...]:
    """The addresses of ``host`` that were checked; connect to these, since a second answer of the
    name server may differ. Empty where ``allowed`` is None: then nothing is looked up.

    ``allowed`` lists host names, ``*.example.com`` patterns, addresses and CIDR ranges, with commas
    between them. ``shown`` names the source in messages. Raises RemoteForbidden, and
    SourceUnreadable where the host has no address.
    """
    if allowed is None:
        return ()
    addresses = _resolve(host, port, shown)
    reason = forbidden_reason(host, addresses, allowed)
    if reason:
        raise RemoteForbidden(shown, reason)
    return addresses


def forbidden_reason(host: str, addresses: Sequence[str], allowed: str) -> str | None:
    """Why ``host``, which resolves to ``addresses``, may not be reached; None if it may.

    Each address must be listed, or else be public and belong to a host that is listed by name: a
    public name that leads into the private network is how a list of names is got around.
    """
    names, networks = _parse(allowed)
    by_name = any(_matches(_plain(host), name) for name in names)
    if not addresses:
        return f"{host} has no address"
    for text in addresses:
        address = ipaddress.ip_address(text)
        if any(_contains(network, address) for network in networks):
            continue
        if not by_name:
            return f"{host} is not in {REMOTE_SOURCES_ENV}"
        if not _is_public(address):
            return f"{host} leads to {address}, which is no public address and is not listed itself"
    return None


def _parse(allowed: str) -> tuple[list[str], list[ipaddress.IPv4Network | ipaddress.IPv6Network]]:
    names, networks = [], []
    for entry in (part.strip() for part in allowed.split(",")):
        if not entry:
            continue
        try:
            networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
        except ValueError:
            names.append(_plain(entry))
    return names, networks


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _matches(host: str, name: str) -> bool:
    return host.endswith(name[1:]) if name.startswith("*.") else host == name


def _contains(network: ipaddress.IPv4Network | ipaddress.IPv6Network, address: _Address) -> bool:
    return any(a.version == network.version and a in network for a in (address, _inner(address)))


def _inner(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 one stands for, so that neither form is a way around."""
    if not isinstance(address, ipaddress.IPv6Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour or address


def _is_public(address: _Address) -> bool:
    inner = _inner(address)
    return inner.is_global and not inner.is_multicast and not inner.is_reserved


def _resolve(host: str, port: int, shown: str) -> tuple[str, ...]:
    """All addresses of ``host``, in the system's order. The one place that asks the network."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SourceUnreadable(
            shown, f"the host {host} has no address", next_step="check the host's name"
        ) from None
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
