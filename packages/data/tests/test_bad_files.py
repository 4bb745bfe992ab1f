"""Files that are made, or happen, to exhaust whoever reads them: a typed error, little memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from agentloop.contracts import DataSourceConfig, EmptySource, SourceUnreadable
from agentloop.data.arrow_extract import Extract
from agentloop.data.arrow_source import extract_source

# Reads rows.* in a process of its own and prints the error and the peak above what imports take.
READER = """
import json, resource, sys
from pathlib import Path
from agentloop.contracts import DataSourceConfig, SourceUnreadable
from agentloop.data.arrow_source import extract_source
source = json.loads(sys.argv[2])
config = DataSourceConfig.model_validate({"source": source, "target": "y"})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    extract = extract_source(config, Path(sys.argv[1]))
    for part in extract.parts:
        for chunk in part.chunks():
            extract.parser(chunk, {})
    told = ""
except SourceUnreadable as error:
    told = error.summary
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"told": told, "mb": (peak - before) / 1024}))
"""


def extract(folder: Path, name: str, data: bytes, **more: Any) -> Extract:
    (folder / name).write_bytes(data)
    kind = name.split(".")[1]
    spec = {"source": {"kind": kind, "path": name, **more}, "target": "y"}
    return extract_source(DataSourceConfig.model_validate(spec), folder)


def read_apart(folder: Path, name: str) -> tuple[str, float]:
    source = json.dumps({"kind": name.split(".")[1], "path": name})
    done = subprocess.run(
        [sys.executable, "-c", READER, str(folder), source],
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout)
    return result["told"], result["mb"]


@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.jsonl.gz"])
def test_a_line_of_a_gigabyte_is_refused_early(tmp_path: Path, name: str) -> None:
    with gzip.open(tmp_path / name, "wb", compresslevel=1) as file:
        file.write(b'{"y": 1}\n' if "json" in name else b"a,y\n1,2\n")
        for _ in range(64):  # of the 1,000 that it would be: no more is read
            file.write(b"abcdefghijklmnopqrstuvwxyz0123456789" * 29_127)
    told, mb = read_apart(tmp_path, name)
    assert "the row that begins in line" in told
    assert "is longer than 16 MB" in told
    assert mb < 300


def test_a_first_line_of_a_gigabyte_is_refused_early(tmp_path: Path) -> None:
    with (tmp_path / "rows.csv").open("wb") as file:
        file.write(b"x" * (40 << 20))
        file.truncate(1 << 30)  # sparse: the rest takes no room on the disk
    told, mb = read_apart(tmp_path, "rows.csv")
    assert "the row that begins in line 1 is longer than 16 MB" in told
    assert mb < 300


@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.jsonl.gz"])
def test_a_gzip_bomb_is_refused(tmp_path: Path, name: str) -> None:
    row = b'{"y": "%s"}\n' if "json" in name else b"a,%s\n"
    row = row.replace(b"%s", b"y" * 1000)
    with gzip.open(tmp_path / name, "wb", compresslevel=9) as file:
        file.write(row)
        for _ in range(200):
            file.write(row * ((1 << 20) // len(row)))
    told, mb = read_apart(tmp_path, name)
    assert "as a gzip bomb does" in told
    assert mb < 700


def test_a_hundred_thousand_columns_are_refused(tmp_path: Path) -> None:
    header = ",".join(f"column_{n}" for n in range(100_000))
    (tmp_path / "rows.csv").write_text(f"{header}\n" + "1," * 99_999 + "1\n")
    told, mb = read_apart(tmp_path, "rows.csv")
    assert "it has 100,000 columns, and 10,000 are the most" in told
    assert mb < 200


def test_a_hundred_thousand_keys_are_refused(tmp_path: Path) -> None:
    row = json.dumps({f"key_{n}": 1 for n in range(100_000)})
    with pytest.raises(SourceUnreadable, match="100,000 columns"):
        extract(tmp_path, "rows.jsonl", row.encode())


def test_a_new_key_in_every_row_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"k{n}": 1}}\n' for n in range(1_000_000)))
    told, mb = read_apart(tmp_path, "rows.jsonl")
    assert "10,000 are the most" in told
    assert mb < 500


def test_torn_rows_without_end_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"a,y\n1,2\n" + b"x\n" * 20_000_000)
    told, mb = read_apart(tmp_path, "rows.csv")
    assert "hardly a row fits its header" in told
    assert mb < 400


def test_an_archive_is_to_be_unpacked_first(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rows.csv", "w") as archive:
        archive.writestr("rows.csv", "a,y\n1,2\n")
    with pytest.raises(SourceUnreadable, match=r"packed with zip.*\n.*\n.*unpack it first"):
        extract(tmp_path, "rows.csv", (tmp_path / "rows.csv").read_bytes())


def test_gzip_is_unpacked_member_by_member(tmp_path: Path) -> None:
    data = gzip.compress(b"a,y\n1,2\n") + gzip.compress(b"3,4\n")
    assert extract(tmp_path, "rows.csv.gz", data).head.to_pydict() == {"a": [1, 3], "y": [2, 4]}


@pytest.mark.parametrize("cut", [5, 20, 30])
def test_gzip_that_is_cut_short_is_told(tmp_path: Path, cut: int) -> None:
    data = gzip.compress(b"a,y\n" + bytes(range(48, 58)) * 10)
    with pytest.raises(SourceUnreadable, match="its gzip is damaged"):
        extract(tmp_path, "rows.csv.gz", data[:cut])


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_a_file_of_nothing_but_line_ends_is_empty(tmp_path: Path, name: str) -> None:
    with pytest.raises(EmptySource):
        extract(tmp_path, name, b"\n" * 100)


def test_binary_bytes_are_no_csv(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable):
        extract(tmp_path, "rows.csv", bytes(range(1, 256)) * 50)


@pytest.mark.parametrize("bad", [b"\xff", b"\0"])
def test_bad_bytes_deep_in_a_large_file_are_told(tmp_path: Path, bad: bytes) -> None:
    (tmp_path / "rows.csv").write_bytes(b"a,y\n" + b"text,2\n" * 6_000_000 + bad + b",3\n")
    told, mb = read_apart(tmp_path, "rows.csv")
    assert "line 6000002 is not UTF-8" in told if bad == b"\xff" else "NUL" in told
    assert mb < 500
