"""TLS at the edge, and what it refuses to start with."""

from __future__ import annotations

import shutil
import socket
import ssl
import stat
from datetime import UTC, datetime

import pytest

from agentloop.contracts import CertificateUnusable, EdgeExposed, ServingSpec
from agentloop.serving.edge.api_keys import create_key
from agentloop.serving.edge.certificates import PEM_FILE, read_certificate
from agentloop.serving.edge.guards import EdgeGuards

pytestmark = pytest.mark.ray
INFER = "/v2/models/tiny/infer"


@pytest.fixture
def files(certificates, tmp_path):
    """Copies of a certificate and its key, to be renewed."""
    for kind in ("crt", "key"):
        shutil.copy(certificates / f"first.{kind}", tmp_path / f"edge.{kind}")
    return tmp_path / "edge.crt", tmp_path / "edge.key"


@pytest.fixture
def tls(edge_world, files):
    certificate, key = map(str, files)
    return edge_world(EdgeGuards(certificate=certificate, key=key))


def hello(world, protocols=None, **versions):
    context = ssl.create_default_context(cafile=world.guards.certificate)
    if protocols:
        context.set_alpn_protocols(protocols)
    for name, value in versions.items():
        setattr(context, name, value)
    raw = socket.create_connection(("127.0.0.1", world.port), 5)
    return context.wrap_socket(raw, server_hostname="localhost")


def test_the_public_door_speaks_tls_and_the_address_says_so(tls):
    assert tls.store.address().url.startswith("https://")
    assert tls.ask().status == 200
    answer = tls.raw(b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n", 1.0)
    assert not answer.startswith(b"HTTP/1.1 200")


def test_the_loops_own_door_needs_no_certificate(tls):
    inside = tls.connect("inside")
    assert tls.ask(tls.guards.inside.prefix + INFER, connection=inside).status == 200


def test_the_private_key_is_for_the_owner_alone(tls):
    assert stat.S_IMODE((tls.folder / PEM_FILE).stat().st_mode) == 0o600


def test_old_versions_of_tls_are_refused(tls):
    with hello(tls, maximum_version=ssl.TLSVersion.TLSv1_2) as connection:
        assert connection.version() == "TLSv1.2"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        hello(
            tls,
            minimum_version=ssl.TLSVersion.TLSv1,
            maximum_version=ssl.TLSVersion.TLSv1_1,
        )


def test_http_2_is_offered_and_spoken(tls):
    with hello(tls, ["h2", "http/1.1"]) as connection:
        assert connection.selected_alpn_protocol() == "h2"
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b""))
        path = b"/v2/models/tiny"
        block = b"\x82\x87" + b"\x04" + bytes([len(path)]) + path + b"\x01\x09localhost"
        connection.sendall(_frame(1, 0x5, 1, block))  # one GET, headers and all
        assert _status(connection) == 0x88  # :status 200 in HPACK's static table
    assert tls.backend.seen[-1].path.endswith("/v2/models/tiny")


def _frame(kind, flags, stream, payload):
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def _status(connection):
    """The first byte of the first HEADERS frame."""
    text = b""
    while True:
        while len(text) < 9 or len(text) < 9 + int.from_bytes(text[:3], "big"):
            part = connection.recv(65536)
            assert part, "the edge closed the connection"
            text += part
        length, kind = int.from_bytes(text[:3], "big"), text[3]
        if kind == 1:
            return text[9]
        text = text[9 + length :]


def serial(world):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", world.port), 5) as raw,
        context.wrap_socket(raw) as connection,
    ):
        return connection.getpeercert(binary_form=True)


def test_a_renewed_certificate_is_taken_up_and_a_broken_renewal_is_not(tls, files, certificates):
    before = serial(tls)
    open_one = tls.connect()
    assert tls.ask(connection=open_one).status == 200
    files[0].write_text("half writ")
    tls.keeper.reconcile()
    assert serial(tls) == before
    shutil.copy(certificates / "second.key", files[1])
    shutil.copy(certificates / "second.crt", files[0])
    tls.until(lambda: serial(tls) != before, 3)
    assert tls.ask(connection=open_one).status == 200  # what was open was not cut off
    assert tls.ask().status == 200


@pytest.mark.parametrize(
    ("certificate", "key", "reason"),
    [
        ("missing.crt", "first.key", "No such file"),
        ("first.key", "first.key", "no PEM certificate"),
        ("first.crt", "second.key", "belongs to another"),
        ("first.crt", "first.crt", "no PEM private key"),
        ("expired.crt", "expired.key", "expired on"),
        ("locked.crt", "locked.key", "has a password"),
    ],
)
def test_an_unusable_certificate_says_why(certificates, certificate, key, reason):
    with pytest.raises(CertificateUnusable, match=reason):
        read_certificate(
            str(certificates / certificate), str(certificates / key), datetime.now(UTC)
        )


def test_an_edge_with_an_unusable_certificate_does_not_start(edge_world, certificates):
    guards = EdgeGuards(certificate=str(certificates / "expired.crt"), key="x")
    world = edge_world(guards, started=False)
    with pytest.raises(CertificateUnusable):
        world.keeper.reconcile()
    assert world.process.pid is None


@pytest.mark.parametrize("guards", [EdgeGuards(), EdgeGuards(keys=True)])
def test_an_edge_that_strangers_reach_does_not_start_unguarded(edge_world, guards):
    world = edge_world(guards, host="0.0.0.0", started=False)
    with pytest.raises(EdgeExposed):
        world.keeper.reconcile()
    assert world.process.pid is None


def test_a_plane_for_strangers_is_refused_before_anything_starts(tmp_path):
    from agentloop.serving import start_serving_plane

    spec = ServingSpec.model_construct(host="0.0.0.0")  # as if the spec had not looked
    with pytest.raises(EdgeExposed):
        start_serving_plane(tmp_path, spec)
    assert list(tmp_path.iterdir()) == []


def test_keys_and_tls_together_may_face_strangers(edge_world, files, stranger):
    certificate, key = map(str, files)
    guards = EdgeGuards(certificate=certificate, key=key, keys=True)
    world = edge_world(guards, host="0.0.0.0")
    token = create_key(world.keys, "one", 0.0)[1]
    world.keeper.reconcile()
    assert world.ask(headers={"x-api-key": token}).status == 200
    assert world.ask().status == 401
