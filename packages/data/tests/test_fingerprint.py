"""Has the source changed?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agentloop.contracts import DataSourceConfig, SourceNotFound
from agentloop.data import source_fingerprint


def config(**source: str) -> DataSourceConfig:
    return DataSourceConfig.model_validate({"source": source, "target": "y"})


def test_files_are_known_by_their_bytes(tmp_path: Path) -> None:
    spec = config(kind="csv", path="*.csv")
    (tmp_path / "a.csv").write_text("y\n1\n")
    first = source_fingerprint(spec, tmp_path)
    (tmp_path / "a.csv").touch()
    assert source_fingerprint(spec, tmp_path) == first
    (tmp_path / "b.csv").write_text("y\n1\n")
    second = source_fingerprint(spec, tmp_path)
    (tmp_path / "b.csv").write_text("y\n2\n")
    assert len({first, second, source_fingerprint(spec, tmp_path)}) == 3


def test_the_folders_that_are_columns_count(tmp_path: Path) -> None:
    spec = config(kind="csv", path="in")
    (tmp_path / "in" / "k=1").mkdir(parents=True)
    (tmp_path / "in" / "k=1" / "a.csv").write_text("y\n1\n")
    first = source_fingerprint(spec, tmp_path)
    (tmp_path / "in" / "k=1").rename(tmp_path / "in" / "k=2")
    assert source_fingerprint(spec, tmp_path) != first


def test_labels_count(tmp_path: Path) -> None:
    spec = config(kind="idx", path="images", labels="labels")
    (tmp_path / "images").write_bytes(b"1")
    (tmp_path / "labels").write_bytes(b"1")
    first = source_fingerprint(spec, tmp_path)
    (tmp_path / "labels").write_bytes(b"2")
    assert source_fingerprint(spec, tmp_path) != first


def test_a_function_is_known_by_its_code_and_that_of_its_neighbours(tmp_path: Path) -> None:
    spec = config(kind="callable", target="rows:load")
    (tmp_path / "rows.py").write_text("import json, helper\ndef load(): ...\n")
    (tmp_path / "helper.py").write_text("A = 1\n")
    first = source_fingerprint(spec, tmp_path)
    assert source_fingerprint(spec, tmp_path) == first
    (tmp_path / "helper.py").write_text("A = 2\n")
    second = source_fingerprint(spec, tmp_path)
    (tmp_path / "rows.py").write_text("import json, helper\ndef load(): pass\n")
    assert len({first, second, source_fingerprint(spec, tmp_path)}) == 3


def test_an_installed_function_needs_no_import(tmp_path: Path) -> None:
    spec = config(kind="callable", target="sklearn.datasets:load_iris")
    other = config(kind="callable", target="sklearn.datasets:load_wine")
    assert source_fingerprint(spec, tmp_path) != source_fingerprint(other, tmp_path)


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    for spec in (config(kind="csv", path="x.csv"), config(kind="callable", target="no_rows:x")):
        with pytest.raises(SourceNotFound):
            source_fingerprint(spec, tmp_path)


def test_it_imports_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "rows.py").write_text("import sklearn.datasets\ndef load(): ...\n")
    code = f"""
import sys
from pathlib import Path
from agentloop.contracts import DataSourceConfig
from agentloop.data import source_fingerprint
source = {{"kind": "callable", "target": "rows:load"}}
config = DataSourceConfig.model_validate({{"source": source, "target": "y"}})
source_fingerprint(config, Path({str(tmp_path)!r}))
print(*{{"ray", "pyarrow", "pandas", "numpy", "sklearn", "dvc"}} & set(sys.modules))
"""
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
