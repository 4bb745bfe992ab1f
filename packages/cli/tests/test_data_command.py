"""``agentloop data``, as typed."""

from __future__ import annotations

import io
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentloop.cli import data_command
from agentloop.cli.context import Context
from agentloop.cli.main import build_parser
from agentloop.contracts import ColumnSchema, DataProfile, DataSchema, DataVersionNotFound
from agentloop.data.batch import TransformedBatch
from agentloop.data.files import staging_folder
from agentloop.data.version_store import VersionStore
from agentloop.lifecycle.arrow_dataset import ContentHasher
from agentloop.loop.home import StateFolder

SCHEMA = DataSchema((ColumnSchema("y", "number"),), "y")


def keep(home: Path, rows: int) -> str:
    table = pa.table({"y": [float(row) for row in range(rows)]})
    hasher = ContentHasher(SCHEMA)
    hasher.update(table)
    store = VersionStore(home / "data", "people")
    with staging_folder(store.staging, "x") as staging:
        pq.write_table(table, staging / "part-00000.parquet")
        digest = hasher.hexdigest()
        batch = TransformedBatch("people.csv", SCHEMA, staging, digest, rows, 0, 0, {}, {})
        kept = store.keep(batch, DataProfile(rows, ()), f"2026-01-{rows:02d}", batch_id="monday")
    return kept.version


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A state folder, and its two versions."""
    root = tmp_path_factory.mktemp("home")
    return root, keep(root, 10), keep(root, 15)


def typed(root: Path, *arguments: str) -> tuple[int, str]:
    """The exit code and stdout."""
    options: Namespace = build_parser().parse_args(["data", *arguments])
    result = io.StringIO()
    code = data_command.run(Context(options, StateFolder(root), {}, result))
    return code, result.getvalue()


def typed_json(root: Path, *arguments: str) -> Any:
    return json.loads(typed(root, *arguments, "--json")[1])


def test_the_log_is_a_table_with_the_last_version_first(home: tuple[Path, str, str]) -> None:
    root, first, second = home
    _, text = typed(root, "log", "people")
    lines = text.splitlines()
    assert lines[0].split()[:6] == ["version", "accepted", "rows", "columns", "size", "parent"]
    assert [line.split()[0] for line in lines[1:]] == [second, first]
    assert first[:7] in lines[1]
    assert "monday" in text
    assert "people.csv" in text


def test_the_log_of_all_datasets_names_them(
    home: tuple[Path, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    _, text = typed(home[0], "log", "--limit", "1")
    assert text.splitlines()[1].startswith("people")
    assert "1 more" in capsys.readouterr().err


def test_json_may_stand_before_or_after_the_action(home: tuple[Path, str, str]) -> None:
    after = typed_json(home[0], "log", "people")
    assert json.loads(typed(home[0], "--json", "log", "people")[1]) == after
    assert [accepted["rows"] for accepted in after] == [15, 10]


def test_a_diff_names_both_versions_and_what_changed(home: tuple[Path, str, str]) -> None:
    root, first, second = home
    _, text = typed(root, "diff", "people", "latest~1")
    assert f"{first} → {second}" in text
    assert "10 rows became 15 (+50.0%)" in text
    assert typed_json(root, "diff", "people", second[:5], first)["rows"] == [15, 10]


def test_a_checkout_prints_the_folder(home: tuple[Path, str, str], tmp_path: Path) -> None:
    root, first, _ = home
    _, text = typed(root, "checkout", "people", first, str(tmp_path / "out"))
    assert text == f"{tmp_path / 'out'}\n"
    assert typed_json(root, "checkout", "people", first, text.strip())["origin"] == "there"


def test_a_profile_is_a_page_or_json(home: tuple[Path, str, str]) -> None:
    root, first, second = home
    assert Path(typed(root, "profile", "people")[1].strip()).read_text().startswith("<!doctype")
    assert second in typed(root, "profile", "people")[1]
    assert typed_json(root, "profile", "people", first)["rows"] == 10


def test_pushing_again_pushes_nothing(home: tuple[Path, str, str]) -> None:
    assert typed_json(home[0], "push")["files"] == 0


def test_no_action_prints_the_usage(
    home: tuple[Path, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(home[0]) == (2, "")
    assert "usage: agentloop data" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["peopel", "../people", ""])
def test_an_unknown_dataset_is_not_found(home: tuple[Path, str, str], name: str) -> None:
    with pytest.raises(DataVersionNotFound) as caught:
        typed(home[0], "diff", name, "latest")
    assert caught.value.known == ("people",)


def test_an_unknown_version_is_not_found(home: tuple[Path, str, str]) -> None:
    with pytest.raises(DataVersionNotFound, match="latest~7"):
        typed(home[0], "profile", "people", "latest~7")


def test_nothing_is_there_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(tmp_path, "log") == (0, "")
    assert typed(tmp_path, "push") == (0, "")
    assert "Nothing was accepted yet" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
