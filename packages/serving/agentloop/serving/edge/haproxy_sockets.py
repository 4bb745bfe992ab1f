"""Copies of HAProxy's listening sockets, so that they outlive it.

While somebody holds a listening socket the kernel goes on taking connections for it. When HAProxy
is killed, those who connect before it is back wait a moment in the queue, and none is refused.

HAProxy hands its sockets over by ``_getsocks`` on its admin socket, to whoever asks; a new process
asks at the path after ``-x``. Here both sides of that exchange are spoken (HAProxy 2.8,
``sock_get_old_sockets`` in src/sock.c): the number of sockets, then their descriptors with some
words about each, which are kept as they came; each message is acknowledged. Unix sockets are not
held: who asks the admin socket of a dead HAProxy is to be refused at once.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ASK = b"_getsocks\n"
MOST_SOCKETS = 252  # what HAProxy sends in one message
SECONDS = 2.0
_NUMBER = struct.Struct("=i")


class HeldSockets:
    """The sockets of the process that was asked last."""

    def __init__(self) -> None:
        self._sockets: list[int] = []
        self._words = b""

    def __bool__(self) -> bool:
        return bool(self._sockets)

    def take(self, admin: Path) -> None:
        """Hold the sockets of the process that answers at ``admin``, in place of those held.

        Raises OSError; then those held before still are.
        """
        sockets: list[int] = []
        words = b""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(SECONDS)
            connection.connect(str(admin))
            connection.sendall(ASK)
            expected = _number(connection)
            while len(sockets) < expected:
                part, found, _, _ = socket.recv_fds(connection, 1 << 20, MOST_SOCKETS)
                if not part and not found:
                    break
                words += part
                sockets += found
                connection.sendall(_NUMBER.pack(len(sockets)))
        abouts = _each(words)
        if not len(sockets) == len(abouts) == expected:
            for descriptor in sockets:
                os.close(descriptor)
            raise ConnectionError("HAProxy says something else about its sockets than 2.8 does")
        self.close()
        for descriptor, about in zip(sockets, abouts, strict=True):
            if _is_unix(descriptor):
                os.close(descriptor)
            else:
                self._sockets.append(descriptor)
                self._words += about

    @contextmanager
    def offered(self, path: Path) -> Iterator[None]:
        """Give them to the next process that asks at ``path``."""
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.bind(str(path))
            path.chmod(0o600)
            server.listen(1)
            server.settimeout(SECONDS)
            giver = threading.Thread(target=self._give, args=(server,), daemon=True)
            giver.start()
            try:
                yield
            finally:
                giver.join(SECONDS)
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Hold nothing: the addresses are free once HAProxy is gone."""
        for descriptor in self._sockets:
            os.close(descriptor)
        self._sockets, self._words = [], b""

    def _give(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # who asked will bind for itself
            connection, _ = server.accept()
            with connection:
                connection.settimeout(SECONDS)
                connection.recv(len(ASK))
                connection.sendall(_NUMBER.pack(len(self._sockets)))
                socket.send_fds(connection, [self._words], self._sockets)
                connection.recv(_NUMBER.size)


def _each(words: bytes) -> list[bytes]:
    """What is said about each socket: a namespace and an interface, each after a byte with its
    length, and four bytes of options. Nothing where that does not come out even."""
    found = []
    while words:
        interface = 1 + words[0]
        end = interface + 1 + (words[interface] if interface < len(words) else 0) + _NUMBER.size
        if end > len(words):
            return []
        found.append(words[:end])
        words = words[end:]
    return found


def _is_unix(descriptor: int) -> bool:
    borrowed = socket.socket(fileno=descriptor)
    try:
        return borrowed.family == socket.AF_UNIX
    finally:
        borrowed.detach()


def _number(connection: socket.socket) -> int:
    text = b""
    while len(text) < _NUMBER.size:
        part = connection.recv(_NUMBER.size - len(text))
        if not part:
            raise ConnectionError("HAProxy does not give its sockets")
        text += part
    number: int = _NUMBER.unpack(text)[0]
    return number
