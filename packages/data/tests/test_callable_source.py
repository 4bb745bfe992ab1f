"""Sources that are Python functions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from agentloop.contracts import (
    DataSourceConfig,
    EmptySource,
    SchemaMismatch,
    SourceNotFound,
    SourceUnreadable,
)
from agentloop.data.arrow_source import Extract, extract_source


def call(folder: Path, target: str = "rows:load", **more: Any) -> Extract:
    source = {"kind": "callable", "target": target}
    config = DataSourceConfig.model_validate({"source": source, "target": "y"})
    return extract_source(config, folder, **more)


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


YIELDS = """
import pyarrow as pa
def load():
    import helper
    for n in range(helper.TABLES):
        yield pa.table({"y": [n] * 1000, "a": ["x"] * 1000}) if n else pa.table(
            {"a": ["x"] * 1000, "y": [n] * 1000})
"""


def test_a_generator_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("TABLES = 3\n")
    (tmp_path / "rows.py").write_text(YIELDS)
    extract = call(tmp_path)
    assert extract.head.column_names == ["a", "y"]
    assert extract.head.column("y").to_pylist() == [0] * 1000 + [1] * 1000 + [2] * 1000


def test_a_generator_of_much_is_called_again(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("TABLES = 50\n")
    (tmp_path / "rows.py").write_text(YIELDS)
    extract = call(tmp_path, large_bytes=40_000)
    assert extract.head.num_rows < 10_000
    assert sum(chunk.num_rows for part in extract.parts for chunk in part.chunks()) == 50_000


def test_a_function_that_takes_since_is_given_it(tmp_path: Path) -> None:
    (tmp_path / "rows.py").write_text(
        "import pandas\ndef load(since=None): return pandas.DataFrame({'y': [str(since)]})\n"
    )
    assert call(tmp_path, since="2024-01-01").head.to_pydict() == {"y": ["2024-01-01"]}
    assert call(tmp_path).head.to_pydict() == {"y": ["None"]}


@pytest.mark.parametrize(
    ("code", "error", "told"),
    [
        ("yield pa.table({'y': [1]}); raise KeyError('gone')", SourceUnreadable, "KeyError"),
        ("yield 3", SourceUnreadable, "it returned int"),
        ("yield pa.table({'y': [1]}); yield pa.table({'z': [1]})", SchemaMismatch, "'z'"),
        ("yield from ()", EmptySource, "rows:load"),
        ("yield pa.table({'y': [[1]]})", SourceUnreadable, "one plain value"),
    ],
)
def test_what_a_generator_does_wrong_is_told(
    tmp_path: Path, code: str, error: type[Exception], told: str
) -> None:
    (tmp_path / "rows.py").write_text(f"import pyarrow as pa\ndef load():\n    {code}\n")
    with pytest.raises(error, match=told):
        call(tmp_path)
