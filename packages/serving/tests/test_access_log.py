"""The access log's file."""

from __future__ import annotations

import json

from agentloop.serving.edge.access_log import RotatingLines, finished


def test_retries_become_a_flag():
    line = b'{"path":"a \\"rescued\\":\\"","rescued":"%s"}'
    for retries, rescued in ((b"0", False), (b"1", False), (b"+1", True), (b"+2", True)):
        found = json.loads(finished(line % retries))
        assert found == {"path": 'a "rescued":"', "rescued": rescued}


def test_a_full_file_makes_room_and_the_oldest_goes(tmp_path):
    lines = RotatingLines(tmp_path / "logs" / "access.jsonl", max_bytes=100, kept=3)
    for number in range(50):
        lines.write(b"%020d\n" % number)
    lines.close()
    names = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert names == ["access.jsonl", *(f"access.jsonl.{n}" for n in (1, 2, 3))]
    assert all(path.stat().st_size <= 100 for path in (tmp_path / "logs").iterdir())
    assert (tmp_path / "logs" / "access.jsonl").read_bytes().endswith(b"49\n")


def test_it_goes_on_where_it_was(tmp_path):
    for text in (b"one\n", b"two\n"):
        lines = RotatingLines(tmp_path / "a")
        lines.write(text)
        lines.close()
    assert (tmp_path / "a").read_bytes() == b"one\ntwo\n"


def test_a_disk_that_refuses_costs_lines_and_nothing_else(tmp_path, caplog):
    (tmp_path / "file").touch()
    lines = RotatingLines(tmp_path / "file" / "access.jsonl")
    for _ in range(3):
        lines.write(b"lost\n")
    assert len(caplog.records) == 1
