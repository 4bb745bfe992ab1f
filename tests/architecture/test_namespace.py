"""One namespace out of many folders, and a public surface that is written down."""

import importlib
from pathlib import Path

MOST_LINES = 300


def test_nothing_hides_the_namespace(package):
    stray = Path("packages", package, "agentloop", "__init__.py")
    assert not stray.exists(), f"{stray} hides every other package"


def test_all_names_the_public_surface(package):
    module = importlib.import_module(f"agentloop.{package}")
    assert module.__all__, f"agentloop.{package} has no __all__"
    assert len(set(module.__all__)) == len(module.__all__)
    missing = [name for name in module.__all__ if not hasattr(module, name)]
    assert not missing, f"agentloop.{package} lists {missing} and has none of them"


def test_files_are_short(module):
    lines = len(module.path.read_text().splitlines())
    assert lines <= MOST_LINES, (
        f"{module.path} has {lines} lines: past {MOST_LINES} it is two files"
    )
