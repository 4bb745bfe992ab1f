"""The state folder: one run at a time, whole files, short socket paths."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentloop.contracts import DiskFull, ForeignCluster, StateLocked
from agentloop.loop import home as home_module
from agentloop.loop.cluster import (
    ClusterRecord,
    cluster_environment,
    is_alive,
    is_starting,
    require_answer,
)
from agentloop.loop.home import StateFolder, open_home, read_json, write_json


def test_the_setting_wins_over_the_current_folder(tmp_path: Path) -> None:
    assert open_home(None, tmp_path).root == tmp_path / ".agentloop"
    assert open_home(str(tmp_path / "x"), Path("/")).root == tmp_path / "x"


def test_a_second_run_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    home = StateFolder(tmp_path)
    with home.lock(), pytest.raises(StateLocked) as caught, home.lock():
        pass
    assert caught.value.pid == os.getpid()
    with home.lock():
        pass  # free again


def test_too_little_space_is_told_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home_module, "NEEDED_MB", 10**12)
    with pytest.raises(DiskFull):
        StateFolder(tmp_path / "new").create()
    assert not (tmp_path / "new").exists()


def test_ray_gets_a_short_folder_where_the_home_is_deep(tmp_path: Path) -> None:
    deep = StateFolder(tmp_path / ("d" * 80))
    assert len(str(deep.ray_folder)) < len(str(deep.root))
    assert StateFolder(Path("/h")).ray_folder == Path("/h/ray")


def test_json_is_written_whole_and_half_a_file_reads_as_none(tmp_path: Path) -> None:
    path = tmp_path / "a" / "x.json"
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1}
    path.write_text('{"a":')
    assert read_json(path) is None
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


def test_another_process_with_a_recorded_pid_is_not_our_cluster() -> None:
    reused = ClusterRecord("127.0.0.1:1", "", pid=os.getpid(), pid_started=1.0)
    assert not is_alive(reused)
    assert not is_starting(reused)


def test_a_node_joins_nobody_and_keeps_the_user_s_auth_mode() -> None:
    given = {
        "RAY_ADDRESS": "10.0.0.1:6379",
        "PYTHONDONTWRITEBYTECODE": "1",
        "RAY_AUTH_MODE": "token",
    }
    environment = cluster_environment(StateFolder(Path("/h")), given)
    assert "RAY_ADDRESS" not in environment
    assert "PYTHONDONTWRITEBYTECODE" not in environment
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["AGENTLOOP_HOME"] == "/h"


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:port", "[::1]:1"]
)
def test_an_address_where_nothing_answers_is_refused_at_once(address: str) -> None:
    with pytest.raises(ForeignCluster, match=r"RAY_ADDRESS"):
        require_answer(address)


def test_a_word_that_ray_resolves_is_left_to_ray() -> None:
    require_answer("auto")
