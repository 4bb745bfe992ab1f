"""Files on an S3-compatible server, over real HTTP.

moto's server by default; AGENTLOOP_TEST_S3_ENDPOINT names another one (MinIO), which is asked with
the credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

from __future__ import annotations

import os
import pickle
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentloop.contracts import EmptySource, RemoteForbidden, SourceNotFound, SourceUnreadable
from agentloop.contracts.spec_data import CsvSource, FileSource, ParquetSource
from agentloop.data import s3_client, s3_files
from agentloop.data.s3_files import S3File, fingerprint_s3, list_s3

SECRET = "s3cr3t/key+of/tests"


@dataclass(frozen=True)
class Bucket:
    name: str
    endpoint: str
    client: Any

    def put(self, **objects: bytes | str) -> None:
        for key, body in objects.items():
            data = body if isinstance(body, bytes) else body.encode()
            self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def source(self, key: str, kind: Any = CsvSource, **more: Any) -> FileSource:
        name = {CsvSource: "csv", ParquetSource: "parquet"}[kind]
        path = f"s3://{self.name}/{key}"
        facts = {"kind": name, "path": path, "endpoint_url": self.endpoint, **more}
        return kind.model_validate(facts)

    def keys(self, key: str, **more: Any) -> list[str]:
        return [file.key for file in list_s3(self.source(key, **more))]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    given = os.environ.get("AGENTLOOP_TEST_S3_ENDPOINT")
    if given:
        yield given
        return
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture
def bucket(endpoint: str) -> Iterator[Bucket]:
    s3_client.shared_client.cache_clear()
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    made = Bucket(f"agentloop-{uuid.uuid4().hex[:12]}", endpoint, client)
    client.create_bucket(Bucket=made.name)
    yield made
    for entry in client.list_objects_v2(Bucket=made.name).get("Contents", []):
        client.delete_object(Bucket=made.name, Key=entry["Key"])
    client.delete_bucket(Bucket=made.name)


def test_a_key_is_one_file(bucket: Bucket) -> None:
    bucket.put(**{"in/rows.csv": "a\n1\n", "in/rows.csv.bak": "x"})
    (file,) = list_s3(bucket.source("in/rows.csv"))
    assert (file.below, file.size, file.shown) == (
        "rows.csv", 4, f"s3://{bucket.name}/in/rows.csv"
    )  # fmt: skip
    with file.open() as opened:
        assert opened.read() == b"a\n1\n"


def test_a_folder_holds_the_files_of_its_kind_at_all_depths(bucket: Bucket) -> None:
    names = ["d/b.csv", "d/day=1/a.CSV", "d/.hidden.csv", "d/_SUCCESS", "d/x.parquet", "dd/c.csv"]
    bucket.put(**dict.fromkeys(names, "a\n1\n"), **{"d/": b""})
    for key in ("d/", "d"):
        files = list_s3(bucket.source(key))
        assert [file.below for file in files] == ["b.csv", "day=1/a.CSV"]
    assert bucket.keys("") == ["d/b.csv", "d/day=1/a.CSV", "dd/c.csv"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("d/*.csv", ["d/a1.csv", "d/b2.csv"]),
        ("d/?1.csv", ["d/a1.csv"]),
        ("d/[ab]*.csv", ["d/a1.csv", "d/b2.csv"]),
        ("d/[!a]*.csv", ["d/b2.csv"]),
        ("*/*/c.csv", ["d/e/c.csv"]),
        ("**/*.csv", ["d/a1.csv", "d/b2.csv", "d/e/c.csv"]),
    ],
)
def test_a_glob_stays_within_its_folder(bucket: Bucket, pattern: str, found: list[str]) -> None:
    bucket.put(**dict.fromkeys(["d/a1.csv", "d/b2.csv", "d/e/c.csv", "d/a1.csvx"], "a\n1\n"))
    assert bucket.keys(pattern) == found


def test_more_objects_than_a_page_are_all_listed(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_files, "PAGE_KEYS", 2)
    keys = [f"many/{n}.csv" for n in range(7)]
    bucket.put(**dict.fromkeys(keys, "a\n1\n"))
    assert bucket.keys("many/") == keys


def test_a_large_object_is_read_in_ranges(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_files, "BUFFER_BYTES", 1 << 18)
    monkeypatch.setattr(s3_files, "MOST_BYTES_A_REQUEST", 1 << 19)
    data = os.urandom(5 << 18)
    bucket.put(**{"big.csv": data})
    (file,) = list_s3(bucket.source("big.csv"))
    with pickle.loads(pickle.dumps(file)).open() as opened:
        assert opened.seekable()
        assert opened.seek(-10, os.SEEK_END) == len(data) - 10
        assert opened.read() == data[-10:]
        assert opened.seek(1000) == 1000
        assert opened.read(3 << 18) == data[1000 : 1000 + (3 << 18)]
        assert opened.read() == data[1000 + (3 << 18) :]
        opened.seek(0)
        assert opened.read() == data


def test_parquet_is_read_where_it_lies(bucket: Bucket) -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"a": list(range(50_000)), "b": ["x"] * 50_000})
    pq.write_table(table, sink, row_group_size=10_000)
    bucket.put(**{"t.parquet": sink.getvalue().to_pybytes()})
    (file,) = list_s3(bucket.source("t.parquet", ParquetSource))
    with file.open() as opened:
        assert pq.ParquetFile(opened).read().equals(table)


def test_keys_with_odd_characters_are_read(bucket: Bucket) -> None:
    for key in ("a b+c&d=é.csv", "x%20y.csv", "per#cent.csv"):
        bucket.put(**{key: key})
        (file,) = list_s3(bucket.source(key))
        assert file.open().read().decode() == key


@pytest.mark.parametrize("key", ["absent.csv", "absent/", "no*.csv"])
def test_what_is_not_there_is_told(bucket: Bucket, key: str) -> None:
    with pytest.raises(SourceNotFound, match="does not exist"):
        list_s3(bucket.source(key))


def test_a_bucket_that_is_not_there_is_told(bucket: Bucket) -> None:
    for key in ("rows.csv", "d/", "*.csv"):
        asked = bucket.source(key).model_copy(update={"path": f"s3://no-such-{uuid.uuid4()}/{key}"})
        with pytest.raises(SourceNotFound, match="bucket"):
            list_s3(asked)


def test_a_folder_without_files_of_the_kind_is_empty(bucket: Bucket) -> None:
    bucket.put(**{"d/x.parquet": "x"})
    with pytest.raises(EmptySource, match=r"\.csv"):
        list_s3(bucket.source("d/"))


@pytest.mark.parametrize("after", ["other bytes", None])
def test_an_object_that_changes_while_it_is_read_is_told(bucket: Bucket, after: str | None) -> None:
    bucket.put(**{"rows.csv": b"a" * (6 << 20)})
    (file,) = list_s3(bucket.source("rows.csv"))
    with file.open() as opened:
        opened.read(10)
        if after is None:
            bucket.client.delete_object(Bucket=bucket.name, Key="rows.csv")
        else:
            bucket.put(**{"rows.csv": after})
        with pytest.raises((SourceUnreadable, SourceNotFound), match=r"changed|not exist"):
            opened.read()


def test_the_fingerprint_follows_the_objects(bucket: Bucket) -> None:
    bucket.put(**{"d/a.csv": "a\n1\n", "d/b.csv": "a\n2\n"})
    first = fingerprint_s3(bucket.source("d/"))
    assert first == fingerprint_s3(bucket.source("d"))
    bucket.put(**{"d/b.csv": "a\n3\n"})
    assert fingerprint_s3(bucket.source("d/")) != first


def test_without_credentials_it_is_told(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_an_endpoint_that_does_not_answer_is_told(bucket: Bucket, endpoint_url: str) -> None:
    with pytest.raises(SourceUnreadable) as caught:
        list_s3(bucket.source("rows.csv", endpoint_url=endpoint_url))
    assert "hunter2" not in str(caught.value.as_dict())
    assert SECRET not in str(caught.value.as_dict())


@pytest.mark.parametrize("path", ["s3://", "s3:///key", "s3://b*/x", "s3://arn:aws:s3:::x/y"])
def test_a_path_without_a_bucket_is_told(bucket: Bucket, path: str) -> None:
    with pytest.raises(SourceUnreadable, match="bucket"):
        list_s3(bucket.source("x").model_copy(update={"path": path}))


@pytest.mark.parametrize(
    ("listed", "allowed"),
    [("127.0.0.0/8, ::1, localhost", True), ("*", False), ("s3.us-east-1.amazonaws.com", False)],
)
def test_the_operators_list_is_kept(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, listed: str, allowed: bool
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
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("AGENTLOOP_REMOTE_SOURCES", f"db.example.com, {host}.")
    with pytest.raises(RemoteForbidden):
        list_s3(bucket.source("rows.csv", endpoint_url=f"http://{host}:9000"))


def test_amazons_own_host_must_be_listed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
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
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, status: int
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
