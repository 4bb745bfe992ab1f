"""A port that another program holds is told before anything is started."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentloop.contracts import PortInUse, parse_spec
from agentloop.loop.home import StateFolder
from agentloop.loop.preflight import check_ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.mark.parametrize("section", ["serving", "monitoring"])
def test_a_taken_port_is_named_with_its_key(tmp_path: Path, taken: int, section: str) -> None:
    other = "monitoring" if section == "serving" else "serving"
    ports = f"{section}: {{port: {taken}}}\n{other}: {{port: 0}}\n"
    spec = parse_spec(f"name: m\ndata: {{source: {{kind: csv, path: a}}, target: y}}\n{ports}")
    with pytest.raises(PortInUse) as caught:
        check_ports(spec, StateFolder(tmp_path))
    assert caught.value.port == taken
    assert f"{section}.port" in caught.value.next_step


def test_port_0_is_always_free(tmp_path: Path) -> None:
    ports = "serving: {port: 0}\nmonitoring: {port: 0}\n"
    spec = parse_spec(f"name: m\ndata: {{source: {{kind: csv, path: a}}, target: y}}\n{ports}")
    check_ports(spec, StateFolder(tmp_path))
