"""Which S3 servers are not asked, and how one that does not answer is told."""

from __future__ import annotations

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from agentloop.contracts import RemoteForbidden, SourceUnreadable
from agentloop.contracts.spec_data import CsvSource
from agentloop.data.s3_files import S3File, list_s3


def test_without_credentials_it_is_told(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    with pytest.raises(SourceUnreadable, match="no credentials"):
        list_s3(bucket.source("rows.csv"))


@pytest.mark.parametrize(
    "endpoint_url",
    [
        "http://127.0.0.1:1",
        "http://no.such.host.invalid",
        "http://tests:hunter2@127.0.0.1:1",
        "http://allowed.example.com\\@127.0.0.1:1",
        "file:///etc/passwd",
        "127.0.0.1:9000",
        "http://127.0.0.1:1/?x=hunter2",
        "http://127.0.0.1:99999",
    ],
)
def test_an_endpoint_that_does_not_answer_is_told(bucket: Any, endpoint_url: str) -> None:
    with pytest.raises(SourceUnreadable) as caught:
        list_s3(bucket.source("rows.csv", endpoint_url=endpoint_url))
    assert "hunter2" not in str(caught.value.as_dict())
    assert bucket.secret not in str(caught.value.as_dict())


@pytest.mark.parametrize("path", ["s3://", "s3:///key", "s3://b*/x", "s3://arn:aws:s3:::x/y"])
def test_a_path_without_a_bucket_is_told(bucket: Any, path: str) -> None:
    with pytest.raises(SourceUnreadable, match="bucket"):
        list_s3(bucket.source("x").model_copy(update={"path": path}))


@pytest.mark.parametrize(
    ("listed", "allowed"),
    [("127.0.0.0/8, ::1, localhost", True), ("*", False), ("s3.us-east-1.amazonaws.com", False)],
)
def test_the_operators_list_is_kept(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, listed: str, allowed: bool
) -> None:
    bucket.put(**{"rows.csv": "a\n1\n"})
    if os.environ.get("AGENTLOOP_TEST_S3_ENDPOINT") and allowed:
        pytest.skip("the other server may be anywhere")
    monkeypatch.setenv("AGENTLOOP_REMOTE_SOURCES", listed)
    if allowed:
        (file,) = list_s3(bucket.source("rows.csv"))
        assert file.open().read() == b"a\n1\n"
    else:
        with pytest.raises(RemoteForbidden):
            list_s3(bucket.source("rows.csv"))


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f000001"])
def test_other_forms_of_an_address_are_no_way_around(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("AGENTLOOP_REMOTE_SOURCES", f"db.example.com, {host}.")
    with pytest.raises(RemoteForbidden):
        list_s3(bucket.source("rows.csv", endpoint_url=f"http://{host}:9000"))


def test_amazons_own_host_must_be_listed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    monkeypatch.setenv("AGENTLOOP_REMOTE_SOURCES", "db.example.com")
    monkeypatch.setattr(
        "socket.getaddrinfo", lambda *_, **__: [(0, 0, 0, "", ("93.184.216.34", 443))]
    )
    source = CsvSource(kind="csv", path="s3://bucket/rows.csv", region="eu-west-1")
    with pytest.raises(RemoteForbidden, match=r"s3\.eu-west-1\.amazonaws\.com is not in"):
        list_s3(source)


class Elsewhere(BaseHTTPRequestHandler):
    """Sends each request on to another host, as a hostile server would."""

    status = 307
    seen: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.seen.append(self.headers["Host"])
        self.send_response(self.status)
        self.send_header("Location", f"http://localhost:{self.server.server_port}/stolen")  # type: ignore[attr-defined]
        self.send_header("x-amz-bucket-region", "localhost/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None: ...


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("AGENTLOOP_REMOTE_SOURCES", "127.0.0.1")
    monkeypatch.setattr(Elsewhere, "status", status)
    monkeypatch.setattr(Elsewhere, "seen", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"127.0.0.1:{server.server_port}"
    for key in ("rows.csv", "d/", "*.csv"):
        with pytest.raises((SourceUnreadable, RemoteForbidden)):
            list_s3(bucket.source(key, endpoint_url=f"http://{address}"))
    file = S3File(bucket.name, "k", "k", 9, '"e"', f"http://{address}", allowed="127.0.0.1")
    with pytest.raises((SourceUnreadable, RemoteForbidden)):
        file.open().read()
    assert set(Elsewhere.seen) == {address}
    server.shutdown()
    server.server_close()
