"""A user's own family: where its callable is, and the text of the module that it is in."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentloop.contracts.errors import AgentLoopError, TrainingError
from agentloop.contracts.spec import AUTO, FAMILIES

MEND = "mend the family's code, or check model.family in loop.yaml"


def load_callable(target: str, base_dir: Path) -> Callable[..., Any]:
    """The callable ``module:name``; ``base_dir`` comes first on the path during the import."""
    module_name, name = target.split(":")
    sys.path.insert(0, str(base_dir))
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module_name), name)
        return found
    finally:
        sys.path.remove(str(base_dir))


def family_source(family: str, base_dir: Path) -> str:
    """The text of the module a user's family is in; empty for a built-in family."""
    if family in (*FAMILIES, AUTO):
        return ""
    with explained(family):
        module = sys.modules[load_callable(family, base_dir).__module__]
        return Path(str(module.__file__)).read_text(encoding="utf-8")


@contextmanager
def explained(
    family: str, passes: Callable[[Exception], bool] = lambda error: False
) -> Iterator[None]:
    """Whatever a user's code raises, as a TrainingError that names it. Errors of ours, and those
    that ``passes`` is true of, are left as they are."""
    try:
        yield
    except AgentLoopError:
        raise
    except Exception as error:
        if passes(error):
            raise
        first = (str(error).splitlines() or [""])[0]
        reason = f"family {family} failed with {type(error).__name__}: {first}"
        raise TrainingError(reason, next_step=MEND) from error
