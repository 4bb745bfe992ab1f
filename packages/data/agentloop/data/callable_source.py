"""Call a user's ``module:function``; its module is looked for beside loop.yaml first."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from agentloop.contracts.errors import SourceNotFound, SourceUnreadable
from agentloop.data.fingerprint import module_file


@contextmanager
def called_source(target: str, base_dir: Path, since: str | None = None) -> Iterator[Any]:
    """What the function returns, for as long as its modules can be imported: a generator runs only
    as it is read. A parameter named ``since`` is given ``since``.

    Raises SourceNotFound if there is no such module or function, SourceUnreadable with the
    function's own message if it raises.
    """
    module_name, function_name = target.split(":")
    with _beside(base_dir, module_name.split(".")[0]):
        module = _load(module_name, base_dir, target)
        function = getattr(module, function_name, None)
        if not callable(function):
            names = [n for n in vars(module) if callable(getattr(module, n))]
            near = difflib.get_close_matches(function_name, names, n=1)
            hint = f"did you mean {module_name}:{near[0]}?" if near else f"define {function_name}()"
            raise SourceNotFound(target, next_step=hint)
        given = {"since": since} if _takes_since(function) else {}
        with _own_errors(target):
            value = function(**given)
        yield value


def frames_of(value: Any, target: str) -> Iterator[Any]:
    """What an iterator yields, or the value alone. Raises SourceUnreadable with the function's own
    message if it raises."""
    frames = value if isinstance(value, Iterator) else iter((value,))
    while True:
        with _own_errors(target):
            try:
                frame = next(frames)
            except StopIteration:
                return
        yield frame


@contextmanager
def _own_errors(target: str) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit) as error:
        module_name, function_name = target.split(":")
        step = f"mend {function_name}() in {module_name}"
        raise SourceUnreadable(target, _told(error), next_step=step) from error


def _takes_since(function: Callable[..., Any]) -> bool:
    try:
        return "since" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # built in
        return False


def _load(name: str, base_dir: Path, target: str) -> ModuleType:
    path = module_file(name, base_dir)
    try:
        if path is None and importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(name=name)
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if path is None and error.name and f"{name}.".startswith(f"{error.name}."):
            where = f"{name.replace('.', '/')}.py"
            hint = f"put {where} beside loop.yaml, or install the package"
            raise SourceNotFound(target, next_step=hint) from None
        raise SourceUnreadable(target, _told(error)) from error
    except (Exception, SystemExit) as error:
        raise SourceUnreadable(target, _told(error)) from error


def _told(error: BaseException) -> str:
    return f"it raised {type(error).__name__}: {error}".rstrip(": \n")


@contextmanager
def _beside(base_dir: Path, top: str) -> Iterator[None]:
    """Let modules in ``base_dir`` be imported, then leave neither the path nor them behind:
    the next loop.yaml may have a module of the same name."""
    folder = str(base_dir.resolve())
    hidden = _loaded_from_elsewhere(base_dir, top)
    for name in hidden:
        del sys.modules[name]
    before = set(sys.modules)
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            if module_file(name.split(".")[0], base_dir) is not None:
                del sys.modules[name]
        sys.modules.update(hidden)


def _loaded_from_elsewhere(base_dir: Path, top: str) -> dict[str, ModuleType]:
    """Loaded modules that would hide the user's own module ``top`` beside loop.yaml."""
    own = module_file(top, base_dir)
    loaded = getattr(sys.modules.get(top), "__file__", None)
    if own is None or loaded is None or Path(loaded).resolve() == own.resolve():
        return {}
    return {name: m for name, m in sys.modules.items() if f"{name}.".startswith(f"{top}.")}
