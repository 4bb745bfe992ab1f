"""Read loop.yaml; name the line and the nearest valid key of whatever is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from agentloop.contracts.spec import LoopSpec
from agentloop.contracts.spec_base import shown
from agentloop.contracts.spec_errors import SpecError, SpecIssue
from agentloop.contracts.spec_issues import explain
from agentloop.contracts.spec_shape import Loc

MAX_SPEC_BYTES = 1_000_000
# Counted after anchors are expanded: a few lines of aliases to aliases can stand for billions.
MAX_NODES = 50_000


def load_spec(path: Path) -> LoopSpec:
    """The checked spec in the file ``path``. Raises SpecError."""
    return parse_spec(_read(path), str(path))


def parse_spec(text: str, path: str = "loop.yaml") -> LoopSpec:
    """The checked spec in ``text``; ``path`` names it in messages. Raises SpecError."""
    lines: dict[Loc, int] = {}
    try:
        value, repeated = _parse(text, lines)
    except yaml.YAMLError as error:
        raise SpecError(path, (_syntax_issue(error),)) from None
    except RecursionError:
        issue = SpecIssue(0, "", "not usable: nested too deeply, or an alias in itself", "syntax")
        raise SpecError(path, (issue,)) from None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        # Raised by PyYAML itself for a value that is not what its form or tag promises.
        issue = SpecIssue(
            0, "", f"not valid YAML: a value cannot be read ({shown(error)})", "syntax"
        )
        raise SpecError(path, (issue,)) from None
    if repeated:
        raise SpecError(path, repeated)
    if not isinstance(value, dict):
        reason = "is empty" if value is None else "is no mapping"
        issue = SpecIssue(1, "", f"{reason}: it needs at least 'name' and 'data'", "syntax")
        raise SpecError(path, (issue,))
    try:
        return LoopSpec.model_validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise SpecError(path, explain(details, lines)) from None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SPEC_BYTES + 1)
        if len(content) <= MAX_SPEC_BYTES:
            return content.decode("utf-8-sig")
        reason = f"is larger than {MAX_SPEC_BYTES // 1_000_000} MB: not a loop.yaml"
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8 text (byte {error.start + 1})"
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
    raise SpecError(str(path), (SpecIssue(0, "", reason, "file"),))


def _parse(text: str, lines: dict[Loc, int]) -> tuple[Any, tuple[SpecIssue, ...]]:
    """The value in ``text``, and an issue a repeated key. Fills ``lines``."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, ()
        repeated = tuple(_index_lines(node, (), lines))
        return loader.construct_document(node), repeated
    finally:
        loader.dispose()


def _syntax_issue(error: yaml.YAMLError) -> SpecIssue:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return SpecIssue(mark.line + 1 if mark else 0, "", f"not valid YAML: {problem}", "syntax")


def _index_lines(node: yaml.Node, loc: Loc, lines: dict[Loc, int]) -> Iterator[SpecIssue]:
    """Fill ``lines`` with the 1-based line of each key; yield an issue a repeated key."""
    if len(lines) > MAX_NODES:
        raise yaml.YAMLError(f"more than {MAX_NODES} values, aliases counted")
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "a key"
            child = (*loc, name)
            if child in lines:
                where = ".".join(str(part) for part in child)
                yield SpecIssue(key.start_mark.line + 1, where, "is given twice", "key", None)
            lines[child] = key.start_mark.line + 1
            yield from _index_lines(value, child, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*loc, index)] = item.start_mark.line + 1
            yield from _index_lines(item, (*loc, index), lines)
