"""What cannot work is told before anything is started."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentloop.contracts import PortInUse, TrainingError, parse_spec
from agentloop.loop.home import StateFolder
from agentloop.loop.preflight import check_family, check_ports

DATA = "name: m\ndata: {source: {kind: csv, path: a}, target: y}\n"


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
    spec = parse_spec(DATA + ports)
    with pytest.raises(PortInUse) as caught:
        check_ports(spec, StateFolder(tmp_path))
    assert caught.value.port == taken
    assert f"{section}.port" in caught.value.next_step


def test_port_0_is_always_free(tmp_path: Path) -> None:
    ports = "serving: {port: 0}\nmonitoring: {port: 0}\n"
    spec = parse_spec(DATA + ports)
    check_ports(spec, StateFolder(tmp_path))


def test_the_holder_of_a_port_is_named(tmp_path: Path, taken: int) -> None:
    spec = parse_spec(f"{DATA}serving: {{port: {taken}}}\nmonitoring: {{port: 0}}\n")
    with pytest.raises(PortInUse, match=f"process {os.getpid()}, listens there"):
        check_ports(spec, StateFolder(tmp_path))


def test_a_port_of_this_folders_own_cluster_is_fine(tmp_path: Path) -> None:
    serve = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); "
    tell = "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    environment = {**os.environ, "AGENTLOOP_HOME": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", serve + tell],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        spec = parse_spec(
            f"{DATA}serving: {{port: 0}}\nmonitoring: {{port: {server.stdout.readline()}}}\n"
        )
        check_ports(spec, StateFolder(tmp_path))
        with pytest.raises(PortInUse):
            check_ports(spec, StateFolder(tmp_path / "other"))
        server.communicate("")


def test_a_host_that_is_not_this_machines_is_told_as_such(tmp_path: Path) -> None:
    spec = parse_spec(f"{DATA}serving: {{host: 192.0.2.1, port: 8700, insecure: true}}\n")
    with pytest.raises(PortInUse, match="Cannot assign requested address"):
        check_ports(spec, StateFolder(tmp_path))


@pytest.mark.parametrize("family", ["nets:build", "nets.small:build"])
def test_a_family_whose_module_is_nowhere_is_refused(tmp_path: Path, family: str) -> None:
    spec = parse_spec(f"{DATA}model: {{family: '{family}'}}\n")
    with pytest.raises(TrainingError, match=r"nets.*\.py"):
        check_family(spec, tmp_path)


@pytest.mark.parametrize("family", ["mlp", "own:build", "json:loads"])
def test_a_family_that_can_be_imported_is_left_to_training(tmp_path: Path, family: str) -> None:
    (tmp_path / "own.py").touch()
    check_family(parse_spec(f"{DATA}model: {{family: '{family}'}}\n"), tmp_path)
