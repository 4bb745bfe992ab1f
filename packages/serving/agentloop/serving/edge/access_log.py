"""The access log: JSON lines from HAProxy to a file that is rotated by size.

HAProxy keeps lines in a ring and sends them over a unix socket; whoever reads here may be slow or
be restarted, and no request waits for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from pathlib import Path

ACCESS_SOCKET = "access.sock"
ACCESS_FILE = "access.jsonl"
MAX_BYTES = 64 * 1024 * 1024
FILES_KEPT = 5
_END = b'"end":"'

log = logging.getLogger(__name__)


class RotatingLines:
    """Appends whole lines to ``path``; past ``max_bytes`` it becomes ``path.1``, and so on."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, kept: int = FILES_KEPT) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept
        self._file: int | None = None
        self._size = 0
        self._failing = False

    def write(self, lines: bytes) -> None:
        """Never raises: a full disk costs lines of the log, and is said once."""
        try:
            if self._file is not None and self._size + len(lines) > self._max_bytes:
                self._rotate()
            if self._file is None:
                self._open()
            assert self._file is not None
            os.write(self._file, lines)
            self._size += len(lines)
            self._failing = False
        except OSError as error:
            if not self._failing:
                log.warning("the access log %s cannot be written: %s", self._path, error)
            self._failing = True

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._size = os.fstat(self._file).st_size

    def _rotate(self) -> None:
        self.close()
        for number in range(self._kept - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))


class AccessLog:
    """Reads HAProxy's lines from a socket in ``folder`` into ``path``, in a thread of its own."""

    def __init__(self, folder: Path, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self._address = folder / ACCESS_SOCKET
        self._lines = RotatingLines(path, max_bytes)
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Listen, in place of a reader that is gone."""
        self._address.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._address.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(self._address))
        self._address.chmod(0o600)
        self._socket.listen(8)
        threading.Thread(target=self._accept, name="access-log", daemon=True).start()

    def stop(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self._socket.close()
            self._address.unlink(missing_ok=True)

    def _accept(self) -> None:
        assert self._socket is not None
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            # During a reload the old and the new process both send.
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        rest = b""
        with connection:
            while part := _receive(connection):
                whole, newline, rest = (rest + part).rpartition(b"\n")
                if newline:
                    lines = b"".join(finished(line) for line in whole.split(b"\n") if line)
                    with self._lock:
                        self._lines.write(lines)


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(262_144)
    except OSError:
        return b""


def finished(line: bytes) -> bytes:
    """A line for readers. HAProxy ends it with three words: the status, the milliseconds (dashes
    where no request was read or none was answered), and retries, with a plus where another server
    was asked."""
    head, _, words = line.rpartition(_END)
    status, ms, retries = words.rstrip(b'"}').split(b" ")
    status = b"-1" if status == b"-" else status
    ms = b"0" if ms == b"-" else ms
    flag = b"true" if retries.startswith(b"+") else b"false"
    return head + b'"status":%b,"ms":%b,"rescued":%b}\n' % (status, ms, flag)
