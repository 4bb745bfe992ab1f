"""What the tests of the architecture look at: the modules of every package, parsed once."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Import:
    """One imported module, and whether importing the file that names it imports it too."""

    name: str
    line: int
    at_import_time: bool


@dataclass(frozen=True)
class Module:
    """One file of a package, e.g. `packages/serving/agentloop/serving/rollout.py`."""

    package: str
    path: Path

    @property
    def tree(self) -> ast.Module:
        return _parse(self.path)

    def imports(self) -> Iterator[Import]:
        """Every import in the file, but for those that only type checkers follow."""
        yield from _imports(self.tree, True, f"agentloop.{self.package}")


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def _imports(node: ast.AST, top: bool, package: str) -> Iterator[Import]:
    match node:
        case ast.Import(names=names):
            yield from (Import(alias.name, node.lineno, top) for alias in names)
        case ast.ImportFrom(module=str(module), level=0, names=names):
            yield Import(module, node.lineno, top)
            if module == "agentloop":
                yield from (Import(f"agentloop.{a.name}", node.lineno, top) for a in names)
        case ast.ImportFrom():
            yield Import(package, node.lineno, top)
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            for child in node.orelse:
                yield from _imports(child, top, package)
        case _:
            inner = top and not isinstance(
                node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
            )
            for child in ast.iter_child_nodes(node):
                yield from _imports(child, inner, package)


def modules() -> list[Module]:
    """All files of all packages."""
    found = sorted(Path("packages").glob("*/agentloop/**/*.py"))
    return [Module(path.parts[1], path) for path in found]


def packages() -> list[str]:
    """The packages that have code."""
    return sorted({module.package for module in modules()})


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `module` or `package` runs once for each."""
    if "module" in metafunc.fixturenames:
        metafunc.parametrize("module", modules(), ids=lambda m: str(Path(*m.path.parts[3:])))
    if "package" in metafunc.fixturenames:
        metafunc.parametrize("package", packages())
