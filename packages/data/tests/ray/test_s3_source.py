"""Files on an S3-compatible server, over real HTTP: which they are, and their bytes."""

from __future__ import annotations

import os
import pickle
import uuid
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentloop.contracts import EmptySource, SourceNotFound, SourceUnreadable
from agentloop.data import s3_files
from agentloop.data.s3_files import fingerprint_s3, list_s3


def test_a_key_is_one_file(bucket: Any) -> None:
    bucket.put(**{"in/rows.csv": "a\n1\n", "in/rows.csv.bak": "x"})
    (file,) = list_s3(bucket.source("in/rows.csv"))
    assert (file.below, file.size, file.shown) == (
        "rows.csv", 4, f"s3://{bucket.name}/in/rows.csv"
    )  # fmt: skip
    with file.open() as opened:
        assert opened.read() == b"a\n1\n"


def test_a_folder_holds_the_files_of_its_kind_at_all_depths(bucket: Any) -> None:
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
def test_a_glob_stays_within_its_folder(bucket: Any, pattern: str, found: list[str]) -> None:
    bucket.put(**dict.fromkeys(["d/a1.csv", "d/b2.csv", "d/e/c.csv", "d/a1.csvx"], "a\n1\n"))
    assert bucket.keys(pattern) == found


def test_more_objects_than_a_page_are_all_listed(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_files, "PAGE_KEYS", 2)
    keys = [f"many/{n}.csv" for n in range(7)]
    bucket.put(**dict.fromkeys(keys, "a\n1\n"))
    assert bucket.keys("many/") == keys


def test_a_large_object_is_read_in_ranges(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_parquet_is_read_where_it_lies(bucket: Any) -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"a": list(range(50_000)), "b": ["x"] * 50_000})
    pq.write_table(table, sink, row_group_size=10_000)
    bucket.put(**{"t.parquet": sink.getvalue().to_pybytes()})
    (file,) = list_s3(bucket.source("t.parquet", "parquet"))
    with file.open() as opened:
        assert pq.ParquetFile(opened).read().equals(table)


def test_keys_with_odd_characters_are_read(bucket: Any) -> None:
    for key in ("a b+c&d=é.csv", "x%20y.csv", "per#cent.csv"):
        bucket.put(**{key: key})
        (file,) = list_s3(bucket.source(key))
        assert file.open().read().decode() == key


@pytest.mark.parametrize("key", ["absent.csv", "absent/", "no*.csv"])
def test_what_is_not_there_is_told(bucket: Any, key: str) -> None:
    with pytest.raises(SourceNotFound, match="does not exist"):
        list_s3(bucket.source(key))


def test_a_bucket_that_is_not_there_is_told(bucket: Any) -> None:
    for key in ("rows.csv", "d/", "*.csv"):
        asked = bucket.source(key).model_copy(update={"path": f"s3://no-such-{uuid.uuid4()}/{key}"})
        with pytest.raises(SourceNotFound, match="bucket"):
            list_s3(asked)


def test_a_folder_without_files_of_the_kind_is_empty(bucket: Any) -> None:
    bucket.put(**{"d/x.parquet": "x"})
    with pytest.raises(EmptySource, match=r"\.csv"):
        list_s3(bucket.source("d/"))


@pytest.mark.parametrize("after", ["other bytes", None])
def test_an_object_that_changes_while_it_is_read_is_told(bucket: Any, after: str | None) -> None:
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


def test_the_fingerprint_follows_the_objects(bucket: Any) -> None:
    bucket.put(**{"d/a.csv": "a\n1\n", "d/b.csv": "a\n2\n"})
    first = fingerprint_s3(bucket.source("d/"))
    assert first == fingerprint_s3(bucket.source("d"))
    bucket.put(**{"d/b.csv": "a\n3\n"})
    assert fingerprint_s3(bucket.source("d/")) != first
