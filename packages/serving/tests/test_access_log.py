"""The access log's file."""

from __future__ import annotations

import json

import pytest

from agentloop.serving.edge.access_log import RotatingLines, finished


@pytest.mark.parametrize(
    ("end", "status", "ms", "rescued"),
    [
        (b"200 3 0", 200, 3, False),
        (b"503 12 1", 503, 12, False),
        (b"200 40 +1", 200, 40, True),
        (b"- 5 +2", -1, 5, True),
        (b"- - 0", -1, 0, False),
    ],
)
def test_the_last_words_become_numbers_and_a_flag(end, status, ms, rescued):
    found = json.loads(finished(b'{"path":"a \\"end\\":\\"","end":"%b"}' % end))
    assert found == {"path": 'a "end":"', "status": status, "ms": ms, "rescued": rescued}


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
