"""Real servers, fresh for each file of tests: PostgreSQL with a few tables, and S3.

S3 is moto's server over HTTP; AGENTLOOP_TEST_S3_ENDPOINT names another one (MinIO), which is asked
with the credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest

from agentloop.contracts.spec_data import CsvSource, FileSource, ParquetSource, SqlSource
from agentloop.data import s3_client
from agentloop.data.arrow_extract import Extract
from agentloop.data.s3_files import list_s3
from agentloop.data.sql_extract import extract_sql

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
PASSWORD = "s3cr:et/@"
SECRET_KEY = "s3cr3t/key+of/tests"

SCRIPT = """
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE DOMAIN cents AS numeric(10, 2);
CREATE TABLE loans (
  id bigint PRIMARY KEY, small smallint, amount cents, ratio real, good boolean, name text,
  code char(4), day date, local timestamp, moment timestamptz, key uuid, extra jsonb, feel mood,
  often interval, net inet, nothing text);
INSERT INTO loans VALUES
  (3, 1, 1.5, 0.5, true, 'Jürg', 'ab', '2024-01-03', '2024-01-03 10:00', '2024-01-03 10:00+02',
   '00000000-0000-0000-0000-000000000001', '{"a": 1}', 'bad', '1 day', '10.0.0.1', NULL),
  (1, 2, 'NaN', 'NaN', false, 'x:y''%s %(a)s', 'abcd', '2024-01-01', '2024-01-01 12:30:00.000001',
   '2024-01-01 12:30:00.000001+00', NULL, NULL, NULL, NULL, NULL, NULL),
  (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE pairs (a int, b int);
INSERT INTO pairs VALUES (2, 9), (1, 8);
CREATE TABLE "Odd name" ("Sepal Length" float, "Class" text);
INSERT INTO "Odd name" VALUES (5.1, 'setosa');
CREATE TABLE empty (a int);
CREATE TABLE arrays (a int[], b bytea, c int4range, d pairs, e date);
INSERT INTO arrays VALUES ('{1}', 'x', '[1,2]', (1, 2), 'infinity');
CREATE SCHEMA other;
CREATE TABLE other.things (a int);
INSERT INTO other.things VALUES (7);
CREATE FUNCTION write_it() RETURNS int LANGUAGE sql VOLATILE AS
  'INSERT INTO pairs VALUES (0, 0) RETURNING a';
CREATE ROLE reader LOGIN PASSWORD 'reader';
"""


@dataclass(frozen=True)
class Postgres:
    """``address`` is host:port."""

    address: str
    password: str = PASSWORD

    def url(self, user: str = "loop", password: str = "s3cr%3Aet%2F%40", host: str = "") -> str:
        address = self.address.replace("127.0.0.1", host) if host else self.address
        return f"postgresql://{user}:{password}@{address}/postgres"

    def source(self, **more: Any) -> SqlSource:
        return SqlSource(kind="sql", **{"url": self.url(), **more})

    def read(self, since: str | None = None, **more: Any) -> Extract:
        return extract_sql(self.source(**more), Path("/nowhere"), since)

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url(), autocommit=True)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """On a free port, in a folder of its own."""
    if not BINARIES:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="al-pg-", dir="/tmp"))
    (folder / "password").write_text(PASSWORD)
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    if user:
        for path in (folder, folder / "password"):
            os.chown(path, pwd.getpwnam(user).pw_uid, -1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(program: str, *arguments: str) -> None:
        command = [str(BINARIES[-1] / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    run("initdb", "-U", "loop", "-A", "scram-sha-256", "--pwfile=password", "-E", "UTF8", "-N")
    options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories={folder}"
    run("pg_ctl", "-w", "-o", options, "-l", str(folder / "log"), "start")
    try:
        postgres = Postgres(f"127.0.0.1:{port}")
        with postgres.connect() as connection:
            connection.execute(SCRIPT)
        yield postgres
    finally:
        run("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)


@dataclass(frozen=True)
class Bucket:
    name: str
    endpoint: str
    client: Any
    secret: str = SECRET_KEY

    def put(self, **objects: bytes | str) -> None:
        for key, body in objects.items():
            data = body if isinstance(body, bytes) else body.encode()
            self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def source(self, key: str, kind: str = "csv", **more: Any) -> FileSource:
        path = f"s3://{self.name}/{key}"
        facts = {"kind": kind, "path": path, "endpoint_url": self.endpoint, **more}
        wanted = {"csv": CsvSource, "parquet": ParquetSource}[kind]
        return wanted.model_validate(facts)

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
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
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
