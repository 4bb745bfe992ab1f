"""From pydantic's errors to one issue a mistake, each with its line and the nearest valid word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from agentloop.contracts.spec_base import shown
from agentloop.contracts.spec_errors import SpecIssue, SpecIssueKind
from agentloop.contracts.spec_shape import Loc, Place, locate
from agentloop.contracts.spec_words import plain_words

MAX_ISSUES = 10


def explain(details: Iterable[Any], lines: Mapping[Loc, int]) -> tuple[SpecIssue, ...]:
    """``details`` are ``ValidationError.errors()``; ``lines`` the line of each key of the file.

    Sorted by line. A key that is missing only because it is misspelt is told once.
    """
    found = [_issue(detail, lines) for detail in details]
    spelt = {(_section(i.key), i.nearest) for i in found if i.kind == "key" and i.nearest}
    issues = [
        issue
        for issue in found
        if issue.message != _MISSING or (_section(issue.key), _name(issue.key)) not in spelt
    ]
    issues.sort(key=lambda issue: issue.line)
    if len(issues) <= MAX_ISSUES:
        return tuple(issues)
    rest = SpecIssue(0, "", f"and {len(issues) - MAX_ISSUES} more", "value")
    return (*issues[:MAX_ISSUES], rest)


_MISSING = "is missing"


def _issue(detail: dict[str, Any], lines: Mapping[Loc, int]) -> SpecIssue:
    context = detail.get("ctx", {})
    place = locate((*detail["loc"], *context.get("below", ())))
    match detail["type"]:
        case "extra_forbidden" | "invalid_key":
            return _unknown_key(place, lines)
        case "missing":
            return _told(place.loc, _MISSING, "key", lines)
        case "union_tag_not_found":
            return _told((*place.loc, "kind"), _MISSING, "key", lines)
        case "union_tag_invalid":
            known = [tag.strip("'") for tag in context["expected_tags"].split(", ")]
            tag = str(context["tag"])
            message = f"unknown kind '{shown(tag)}'; choose from {', '.join(known)}"
            loc = (*place.loc, "kind")
            return _told(loc, message, "value", lines, _nearest(tag, known))
        case "dict_type" | "model_type" | "model_attributes_type":
            keys = f" with {', '.join(place.keys)}" if place.keys else ""
            return _told(place.loc, f"must be a mapping{keys}", "value", lines)
    nearest = _nearest(context["name"], context["known"]) if "known" in context else None
    return _told(place.loc, plain_words(detail), context.get("kind", "value"), lines, nearest)


def _unknown_key(place: Place, lines: Mapping[Loc, int]) -> SpecIssue:
    valid = f"; valid here: {', '.join(place.siblings)}" if place.siblings else ""
    nearest = _nearest(str(place.loc[-1]), place.siblings)
    return _told(place.loc, f"is not a known key{valid}", "key", lines, nearest)


def _told(
    loc: Loc,
    message: str,
    kind: SpecIssueKind,
    lines: Mapping[Loc, int],
    nearest: str | None = None,
) -> SpecIssue:
    key = ".".join(shown(part) for part in loc)
    return SpecIssue(_line(loc, lines), key, message, kind, nearest)


def _line(loc: Loc, lines: Mapping[Loc, int]) -> int:
    """The line of ``loc``, or of its nearest parent that is in the file."""
    for end in range(len(loc), 0, -1):
        if loc[:end] in lines:
            return lines[loc[:end]]
    return 1


def _section(key: str) -> str:
    return key.rpartition(".")[0]


def _name(key: str) -> str:
    return key.rpartition(".")[2]


def _nearest(word: str, options: Iterable[str]) -> str | None:
    found = difflib.get_close_matches(word, list(options), n=1, cutoff=0.6)
    return found[0] if found else None
