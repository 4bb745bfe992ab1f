"""The exchange of listening sockets, against a HAProxy played by the test."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from agentloop.serving.edge.haproxy_sockets import ASK, HeldSockets

NUMBER = struct.Struct("=i")
ABOUT = b"\x00\x00\x07\x00\x00\x00"  # no namespace, no interface, options 7
NAMED = b"\x02ns\x04eth0\x01\x00\x00\x00"


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="hs", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def listening():
    """A TCP socket that listens, and a unix one."""
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        yield tcp, unix


def answer(folder, said, words, descriptors):
    """Play a HAProxy that is asked once, and says that it has ``said`` sockets."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / "admin.sock"))
    server.listen(1)

    def run():
        connection, _ = server.accept()
        with server, connection:
            assert connection.recv(100) == ASK
            connection.sendall(NUMBER.pack(said))
            if descriptors:
                socket.send_fds(connection, [words], descriptors)
                connection.recv(NUMBER.size)

    threading.Thread(target=run, daemon=True).start()
    return folder / "admin.sock"


def ask(path):
    """Ask as a HAProxy does that was started with -x; the sockets and the words about them."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        connection.connect(str(path))
        connection.sendall(ASK)
        count = NUMBER.unpack(connection.recv(NUMBER.size))[0]
        words, descriptors, _, _ = socket.recv_fds(connection, 1000, count)
        connection.sendall(NUMBER.pack(len(descriptors)))
        return descriptors, words


def test_what_was_taken_is_given_on_but_for_unix_sockets(folder, listening):
    tcp, unix = listening
    held = HeldSockets()
    held.take(answer(folder, 2, ABOUT + NAMED, [unix.fileno(), tcp.fileno()]))
    address = tcp.getsockname()
    tcp.close()
    with socket.create_connection(address, 2):  # it still listens
        pass
    with held.offered(folder / "held.sock"):
        descriptors, words = ask(folder / "held.sock")
    assert words == NAMED
    with socket.socket(fileno=descriptors[0]) as given:
        assert given.getsockname() == address
    assert not (folder / "held.sock").exists()
    held.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 2)


@pytest.mark.parametrize(
    ("said", "words"),
    [(2, ABOUT), (1, ABOUT + ABOUT), (1, b"\x00\x00")],
    ids=["few", "many", "short"],
)
def test_what_it_does_not_understand_it_does_not_hold(folder, listening, said, words):
    tcp, _ = listening
    held = HeldSockets()
    with pytest.raises(OSError):
        held.take(answer(folder, said, words, [tcp.fileno()]))
    assert not held
    assert copies_of(tcp) == 1


def copies_of(opened):
    """Descriptors of this process that stand for the same socket."""
    folder, same, found = "/proc/self/fd", os.fstat(opened.fileno()).st_ino, 0
    for name in os.listdir(folder):
        with suppress(OSError):
            found += os.stat(f"{folder}/{name}").st_ino == same
    return found


def test_where_nobody_answers_what_was_held_stays(folder, listening):
    tcp, _ = listening
    held = HeldSockets()
    held.take(answer(folder, 1, ABOUT, [tcp.fileno()]))
    with pytest.raises(OSError):
        held.take(folder / "nobody.sock")
    assert held
    held.close()
