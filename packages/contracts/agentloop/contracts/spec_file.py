"""Read loop.yaml; name the line and the nearest valid key of whatever is wrong with it."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from agentloop.contracts.spec import FAMILIES, LoopSpec
from agentloop.contracts.spec_errors import SpecError, SpecIssue, SpecIssueKind

MAX_SPEC_BYTES = 1_000_000
MAX_ISSUES = 10

Loc = tuple[str | int, ...]


def load_spec(path: Path) -> LoopSpec:
    """The checked spec in the file ``path``. Raises SpecError."""
    return parse_spec(_read(path), str(path))


def parse_spec(text: str, path: str = "loop.yaml") -> LoopSpec:
    """The checked spec in ``text``; ``path`` names it in messages. Raises SpecError."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise SpecError(path, (_syntax_issue(error),)) from None
    if not isinstance(node, yaml.MappingNode):
        issue = SpecIssue(1, "", "must be a mapping with 'name' and 'data'", "syntax")
        raise SpecError(path, (issue,))
    lines: dict[Loc, int] = {}
    duplicates = list(_index_lines(node, (), lines))
    if duplicates:
        raise SpecError(path, tuple(duplicates))
    try:
        value = yaml.safe_load(text)
        return LoopSpec.model_validate(value)
    except yaml.YAMLError as error:
        raise SpecError(path, (_syntax_issue(error),)) from None
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        issues = [_issue(dict(detail), lines) for detail in details[:MAX_ISSUES]]
        raise SpecError(path, tuple(issues)) from None


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_SPEC_BYTES:
            reason = f"is larger than {MAX_SPEC_BYTES // 1_000_000} MB: not a loop.yaml"
            raise SpecError(str(path), (SpecIssue(0, "", reason, "file"),))
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SpecError(str(path), (SpecIssue(0, "", reason, "file"),)) from None


def _syntax_issue(error: yaml.YAMLError) -> SpecIssue:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return SpecIssue(mark.line + 1 if mark else 0, "", f"not valid YAML: {problem}", "syntax")


def _index_lines(node: yaml.Node, loc: Loc, lines: dict[Loc, int]) -> Iterator[SpecIssue]:
    """Fill ``lines`` with the 1-based line of each key; yield an issue a repeated key."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            child = (*loc, str(key.value))
            if child in lines:
                yield SpecIssue(
                    key.start_mark.line + 1, str(key.value), "is given twice", "key", None
                )
            lines[child] = key.start_mark.line + 1
            yield from _index_lines(value, child, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*loc, index)] = item.start_mark.line + 1
            yield from _index_lines(item, (*loc, index), lines)


def _issue(detail: dict[str, Any], lines: dict[Loc, int]) -> SpecIssue:
    loc = _real_loc(detail["loc"], lines)
    key = ".".join(str(part) for part in loc)
    kind = _kind(detail)
    nearest = None
    if detail["type"] == "extra_forbidden":
        options = _valid_keys(loc[:-1])
        nearest = _nearest(str(loc[-1]), options)
        message = "is not a known key" + (f"; valid here: {', '.join(options)}" if options else "")
    elif detail["type"] in ("missing", "union_tag_not_found"):
        message = "is missing" if detail["type"] == "missing" else "needs a 'kind'"
    else:
        message = str(detail["msg"]).removeprefix("Value error, ")
    if kind == "family":
        nearest = _nearest(message.split("'")[1], list(FAMILIES))
    return SpecIssue(_line(loc, lines), key, message, kind, nearest)


def _kind(detail: dict[str, Any]) -> SpecIssueKind:
    if detail["type"] in ("extra_forbidden", "missing", "union_tag_not_found"):
        return "key"
    return "family" if "unknown model family" in str(detail["msg"]) else "value"


def _real_loc(loc: Loc, lines: dict[Loc, int]) -> Loc:
    """``loc`` without the union tags that pydantic puts between the keys of the file."""
    real: Loc = ()
    for position, part in enumerate(loc):
        last = position == len(loc) - 1
        if (*real, part) in lines or (last and (not real or real in lines)):
            real = (*real, part)
    return real


def _line(loc: Loc, lines: dict[Loc, int]) -> int:
    """The line of ``loc``, or of its nearest parent that is in the file."""
    for end in range(len(loc), 0, -1):
        if loc[:end] in lines:
            return lines[loc[:end]]
    return 1


def _nearest(word: str, options: list[str]) -> str | None:
    found = difflib.get_close_matches(word, options, n=1, cutoff=0.5)
    return found[0] if found else None


def _valid_keys(loc: Loc) -> list[str]:
    """The keys that the spec knows at ``loc``."""
    models: list[Any] = [LoopSpec]
    for part in loc:
        children: list[Any] = []
        for model in models:
            if isinstance(model, type) and issubclass(model, BaseModel):
                info = model.model_fields.get(str(part))
                children += [info.annotation] if info else []
            else:
                children.append(model)
        models = [leaf for child in children for leaf in _leaves(child)]
    keys = [
        key
        for model in models
        if isinstance(model, type) and issubclass(model, BaseModel)
        for key in model.model_fields
    ]
    return list(dict.fromkeys(keys))


def _leaves(annotation: Any) -> list[Any]:
    """The classes inside unions, Annotated, dict and tuple annotations."""
    origin = get_origin(annotation)
    if origin is None:
        return [annotation]
    args = get_args(annotation)
    if origin in (Union, types.UnionType):
        return [leaf for arg in args for leaf in _leaves(arg)]
    if origin in (dict, tuple, list):
        return [leaf for arg in args[-1:] for leaf in _leaves(arg)]
    return [leaf for arg in args[:1] for leaf in _leaves(arg)]
