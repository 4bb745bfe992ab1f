"""Sources that are Python functions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agentloop.contracts import (
    DataSourceConfig,
    EmptySource,
    SourceNotFound,
    SourceUnreadable,
)
from agentloop.data.arrow_source import Extract, extract_source


def call(folder: Path, target: str = "rows:load") -> Extract:
    source = {"kind": "callable", "target": target}
    config = DataSourceConfig.model_validate({"source": source, "target": "y"})
    return extract_source(config, folder)


def test_a_function_beside_the_spec_may_return_a_frame(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("VALUE = 4\n")
    (tmp_path / "rows.py").write_text(
        "import pandas, helper\ndef load(): return pandas.DataFrame({'y': [1, helper.VALUE]})\n"
    )
    assert call(tmp_path).head.to_pydict() == {"y": [1, 4]}


def test_a_function_may_return_a_table(tmp_path: Path) -> None:
    (tmp_path / "rows.py").write_text(
        "import pyarrow as pa\ndef load(): return pa.table({'y': [1]})\n"
    )
    assert call(tmp_path).head.to_pydict() == {"y": [1]}


def test_neither_the_path_nor_the_modules_stay(tmp_path: Path) -> None:
    for name, value in (("one", 1), ("two", 2)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "helper.py").write_text(f"VALUE = {value}\n")
        (folder / "rows.py").write_text(
            "import pyarrow as pa, helper\ndef load(): return pa.table({'y': [helper.VALUE]})\n"
        )
        assert call(folder).head.to_pydict() == {"y": [value]}
    assert not {"rows", "helper"} & set(sys.modules)
    assert not [entry for entry in sys.path if entry.startswith(str(tmp_path))]


def test_what_the_function_raises_is_told_with_its_message(tmp_path: Path) -> None:
    (tmp_path / "rows.py").write_text("def load(): raise KeyError('no such table: sales')\n")
    with pytest.raises(SourceUnreadable, match="it raised KeyError: 'no such table: sales'"):
        call(tmp_path)


@pytest.mark.parametrize("code", ["def load(:\n", "import no_such_package\n", "raise SystemExit\n"])
def test_a_module_that_cannot_be_imported_is_told(tmp_path: Path, code: str) -> None:
    (tmp_path / "rows.py").write_text(code)
    with pytest.raises(SourceUnreadable, match="rows:load"):
        call(tmp_path)


def test_a_module_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"put no_rows/here\.py beside"):
        call(tmp_path, "no_rows.here:load")


def test_a_misspelt_function_has_a_nearest(tmp_path: Path) -> None:
    (tmp_path / "rows.py").write_text("def load(): pass\n")
    with pytest.raises(SourceNotFound, match="did you mean rows:load"):
        call(tmp_path, "rows:laod")


def test_anything_but_a_frame_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.py").write_text("def load(): return [1, 2]\n")
    with pytest.raises(SourceUnreadable, match="it returned list"):
        call(tmp_path)


def test_an_empty_frame_is_an_empty_source(tmp_path: Path) -> None:
    (tmp_path / "rows.py").write_text(
        "import pandas\ndef load(): return pandas.DataFrame({'y': []})\n"
    )
    with pytest.raises(EmptySource, match="rows:load"):
        call(tmp_path)
