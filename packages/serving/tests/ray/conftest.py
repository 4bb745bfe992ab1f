"""A real edge over a tiny backend, without Ray or a model; and a Ray cluster."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import http.client
import json
import os
import shutil
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from agentloop.contracts import TrafficSplit
from agentloop.serving.control.store import EdgeAddress, MemoryControlStore, StagedVersion
from agentloop.serving.edge.access_log import AccessLog
from agentloop.serving.edge.api_keys import MemoryKeyStore
from agentloop.serving.edge.doorbell import Doorbell
from agentloop.serving.edge.guards import EdgeGuards, save_guards, with_inside
from agentloop.serving.edge.haproxy_process import HaproxyProcess, free_port
from agentloop.serving.edge.keeper import EdgeKeeper, keep

MODEL, BLUE, GREEN = "tiny", "0.1.0-aaaaaaaa-bbbbbbb1", "0.2.0-aaaaaaaa-bbbbbbb2"
INFER = f"/v2/models/{MODEL}/infer"
NO_GUARDS = EdgeGuards()
BODY = b'{"inputs":[]}'


@dataclass(slots=True)
class Seen:
    """A request as the backend got it."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


@dataclass
class Backend:
    """Serve's stand-in: every application answers with its version. It speaks HTTP/1.1 strictly,
    and keeps what it was asked."""

    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    keeps: bool = True  # a load test would fill the memory
    failing: set[str] = field(default_factory=set)
    hanging: set[str] = field(default_factory=set)
    count: collections.Counter = field(default_factory=collections.Counter)

    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self.thread.start()
        ready.wait(5)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 20)
        )
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await self._answer(reader, writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        pairs = [line.split(":", 1) for line in head[1:] if line]
        headers = [(name.lower(), value.strip()) for name, value in pairs]
        body = await _read_body(reader, dict(headers))
        app = path.split("/")[1]
        version = app.partition("--")[2]
        if not path.endswith("/health/ready"):
            self.count[version] += 1
            if self.keeps:
                self.seen.append(Seen(method, path, headers, body))
            if version in self.hanging:
                await asyncio.sleep(3600)
        failed = version in self.failing and not path.endswith("/health/ready")
        status = "500 Oh" if failed else "200 OK"
        writer.write(
            f"HTTP/1.1 {status}\r\nx-model-version: {version}\r\n"
            "content-type: application/json\r\ncontent-length: 2\r\n\r\n{}".encode()
        )
        await writer.drain()


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        parts = []
        while size := int(await reader.readuntil(b"\r\n"), 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
        return b"".join(parts)
    return await reader.readexactly(int(headers.get("content-length", 0)))


@dataclass(slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        return json.loads(self.body)["error"]

    @property
    def version(self) -> str:
        return self.headers.get("x-model-version", "")


class EdgeWorld:
    """One edge with two versions of one model; blue has all the traffic at first."""

    def __init__(self, guards: EdgeGuards = NO_GUARDS, host: str = "127.0.0.1") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ale", dir="/tmp"))
        self.backend = Backend()
        self.backend.start()
        self.store, self.keys = MemoryControlStore(), MemoryKeyStore()
        self.guards = with_inside(guards, host, None, free_port())
        save_guards(self.folder, self.guards)
        self.port = free_port(host)
        self.store.put_address(EdgeAddress(host, self.port, self.backend.port, self.guards.tls))
        for version in (BLUE, GREEN):
            self.store.put_staged(StagedVersion(MODEL, version, "/b", "d"))
        self.store.put_split(TrafficSplit(MODEL, {BLUE: 100.0, GREEN: 0.0}, BLUE, 1))
        self.deleted: list[str] = []
        self.process = HaproxyProcess(self.folder)
        self.keeper = self.make_keeper()
        self.log_path = self.folder / "logs" / "access.jsonl"
        self.log = AccessLog(self.folder, self.log_path)
        self.log.start()
        self.stopping = threading.Event()
        self.thread: threading.Thread | None = None

    def make_keeper(self) -> EdgeKeeper:
        return EdgeKeeper(
            self.store, self.process, self.folder, self.keys, self.deleted.append, time.time
        )

    def start(self) -> None:
        self.stopping.clear()
        self.keeper.reconcile()
        arguments = (self.stopping, self.keeper, self.process, Doorbell(self.folder))
        self.thread = threading.Thread(target=keep, args=arguments, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.stopping.set()
        self.keeper.stop()
        if self.thread is not None:
            self.thread.join(5)
        self.log.stop()
        self.backend.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def split(self, percent: float, **more: object) -> None:
        current = self.store.split(MODEL)
        weights = {BLUE: 100.0 - percent, GREEN: float(percent)}
        self.store.put_split(
            replace(current, **{"weights": weights, "epoch": current.epoch + 1, **more})
        )
        self.keeper.reconcile()

    def connect(self, door: str = "public") -> http.client.HTTPConnection:
        if door == "inside":
            return http.client.HTTPConnection("127.0.0.1", self.guards.inside.port, timeout=10)
        if self.guards.tls:
            context = ssl.create_default_context(cafile=self.guards.certificate)
            return http.client.HTTPSConnection("localhost", self.port, timeout=10, context=context)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def ask(self, path=INFER, body=BODY, headers=None, method=None, connection=None) -> Answer:
        own = connection or self.connect()
        own.request(method or ("POST" if body is not None else "GET"), path, body, headers or {})
        answer = own.getresponse()
        content = answer.read()
        if connection is None:
            own.close()
        found = {key.lower(): value for key, value in answer.getheaders()}
        return Answer(answer.status, found, content)

    def raw(self, request: bytes, seconds: float = 5.0) -> bytes:
        """What comes back for these bytes until the edge closes or says nothing more."""
        with socket.create_connection(("127.0.0.1", self.port), seconds) as connection:
            connection.sendall(request)
            connection.settimeout(seconds)
            parts = b""
            with contextlib.suppress(TimeoutError, ConnectionError):
                while part := connection.recv(65536):
                    parts += part
            return parts

    def until(self, condition, seconds: float = 5.0) -> float:
        """Seconds until ``condition`` holds."""
        start = time.monotonic()
        while not condition():
            assert time.monotonic() - start < seconds, "it did not happen in time"
            time.sleep(0.005)
        return time.monotonic() - start


def _builder():
    worlds: list[EdgeWorld] = []

    def build(guards: EdgeGuards = NO_GUARDS, *, started: bool = True, **more: str) -> EdgeWorld:
        worlds.append(EdgeWorld(guards, **more))
        if started:
            worlds[-1].start()
        return worlds[-1]

    yield build
    for world in worlds:
        world.stop()


@pytest.fixture
def edge_world():
    """Builds running edges; they are stopped after the test."""
    yield from _builder()


@pytest.fixture(scope="module")
def make_edge():
    """Builds running edges for all tests of a file."""
    yield from _builder()


@pytest.fixture(scope="module")
def edge(make_edge):
    """One edge without guards for the tests of a file."""
    return make_edge()


@pytest.fixture(scope="session")
def stranger() -> str:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return probe.getsockname()[0]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory) -> Path:
    """A folder of PEM files: two certificates for localhost, an expired one, a locked key."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("certificates")
    now = datetime.datetime.now(datetime.UTC)

    def write(name: str, start: int, days: int, password: bytes = b"") -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=start))
            .not_valid_after(now + datetime.timedelta(days=start + days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .sign(key, hashes.SHA256())
        )
        lock = serialization.NoEncryption()
        if password:
            lock = serialization.BestAvailableEncryption(password)
        (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
        )

    write("first", -1, 30)
    write("second", -1, 60)
    write("expired", -30, 10)
    write("locked", -1, 30, b"secret")
    return folder


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster of a test module, and the folder that all of its files are in."""

    base: Path
    address: str

    @property
    def home(self) -> Path:
        return self.base / "home"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Started as the loop starts one for the state folder ``cluster.home``."""
    from agentloop.serving import serve_environment

    base = Path(tempfile.mkdtemp(prefix="als", dir="/tmp"))  # short: sockets lie below it
    before = dict(os.environ)
    os.environ.update(
        serve_environment(base / "home"), RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled"
    )
    import ray

    context = ray.init(
        num_cpus=2,
        include_dashboard=False,
        namespace="agentloop",
        _temp_dir=str(base / "r"),
        log_to_driver=False,
    )
    try:
        yield Cluster(base, context.address_info["address"])
    finally:
        ray.shutdown()
        shutil.rmtree(base, ignore_errors=True)
        os.environ.clear()
        os.environ.update(before)
