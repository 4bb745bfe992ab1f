"""An S3 remote, over real HTTP: moto's server, or the one that AGENTLOOP_TEST_S3_ENDPOINT names."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from agentloop.contracts import ColumnSchema, DataProfile, DataSchema, DatasetVersion
from agentloop.contracts.errors import VersioningFailed
from agentloop.contracts.spec_data import RemoteSpec
from agentloop.data.arrow_checkout import checkout_version
from agentloop.data.batch import TransformedBatch
from agentloop.data.files import staging_folder
from agentloop.data.version_store import VersionStore
from agentloop.lifecycle.arrow_dataset import ContentHasher, read_columns

SCHEMA = DataSchema((ColumnSchema("y", "number"),), "y")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    given = os.environ.get("AGENTLOOP_TEST_S3_ENDPOINT")
    if given:
        yield given
        return
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def remote(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> RemoteSpec:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        if name not in os.environ:
            monkeypatch.setenv(name, "testing123")
    bucket = f"versions-{uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=bucket)
    return RemoteSpec(url=f"s3://{bucket}/team/data", endpoint_url=endpoint, region="us-east-1")


def keep(data_dir: Path, values: list[float], remote: RemoteSpec | None) -> DatasetVersion:
    store = VersionStore(data_dir, "demo", remote)
    hasher = ContentHasher(SCHEMA)
    with staging_folder(store.staging, "x") as staging:
        for number, value in enumerate(values):
            table = pa.table({"y": [value]})
            hasher.update(table)
            pq.write_table(table, staging / f"part-{number:05d}.parquet")
        digest = hasher.hexdigest()
        batch = TransformedBatch("rows", SCHEMA, staging, digest, len(values), 0, 0, {}, {})
        return store.keep(batch, DataProfile(len(values), ()), "2026-01-01", batch_id="b")


def objects(remote: RemoteSpec) -> list[str]:
    bucket, _, prefix = remote.url.removeprefix("s3://").partition("/")
    client = boto3.client("s3", endpoint_url=remote.endpoint_url, region_name=remote.region)
    found = client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    return [item["Key"] for item in found]


def lose(data_dir: Path) -> None:
    """All rows on this machine."""
    shutil.rmtree(data_dir / "versions" / "demo", ignore_errors=True)
    shutil.rmtree(data_dir / "repo" / ".dvc" / "cache", ignore_errors=True)
    shutil.rmtree(data_dir / "repo" / "datasets" / "demo", ignore_errors=True)


def test_versions_are_pushed_to_s3_and_come_back_from_it(
    tmp_path: Path, remote: RemoteSpec
) -> None:
    version = keep(tmp_path, [1.0, 2.0, 3.0], remote)
    assert len(objects(remote)) == 4
    assert not (tmp_path / "remote").exists()
    lose(tmp_path)
    done = checkout_version(tmp_path, "demo", version.version, tmp_path / "out")
    assert done.origin == "dvc"
    assert done.version == version


def test_a_remote_that_does_not_answer_keeps_nothing_half_and_a_retry_completes(
    tmp_path: Path, remote: RemoteSpec
) -> None:
    first = keep(tmp_path, [1.0], remote)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    gone = remote.model_copy(update={"endpoint_url": url})
    with pytest.raises(VersioningFailed, match="did not take") as caught:
        keep(tmp_path, [2.0], gone)
    assert remote.url in str(caught.value)
    assert "data.remote" in caught.value.next_step
    store = VersionStore(tmp_path, "demo")
    assert [a.version for a in store.log()] == [first.version]
    assert {path.name for path in (tmp_path / "versions" / "demo").glob("*/")} == {first.version}
    second = keep(tmp_path, [2.0], remote)
    assert [a.version for a in store.log()] == [first.version, second.version]
    assert read_columns(second)["y"].tolist() == [2.0]


def test_a_bucket_that_is_not_there_is_told(tmp_path: Path, remote: RemoteSpec) -> None:
    missing = remote.model_copy(update={"url": f"s3://missing-{uuid4().hex}/data"})
    with pytest.raises(VersioningFailed, match=r"[Bb]ucket"):
        keep(tmp_path, [1.0], missing)
    assert VersionStore(tmp_path, "demo").log() == ()


def test_versions_stay_where_they_were_pushed_when_the_remote_changes(
    tmp_path: Path, remote: RemoteSpec
) -> None:
    first = keep(tmp_path, [1.0], None)
    second = keep(tmp_path, [2.0], remote)
    third = keep(tmp_path, [3.0], None)
    assert len(objects(remote)) == 2
    versions = [version.version for version in (first, second, third)]
    lose(tmp_path)
    for version in versions:
        assert checkout_version(tmp_path, "demo", version, tmp_path / version).origin == "dvc"
