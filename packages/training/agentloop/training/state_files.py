"""What an attempt leaves for the next one: the finished search, as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

from agentloop.contracts.codec import canonical_json, from_dict, to_dict
from agentloop.training.search_space import SearchResult

SEARCH = "search.json"


def write_search(folder: Path, result: SearchResult) -> None:
    """Written under another name, then moved: never half there."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{SEARCH}.{os.getpid()}"
    partial.write_text(canonical_json(to_dict(result)), encoding="utf-8")
    partial.replace(folder / SEARCH)


def read_search(folder: Path) -> SearchResult | None:
    """The finished search of an earlier attempt, if there is one that can be read."""
    try:
        text = (folder / SEARCH).read_text(encoding="utf-8")
        return from_dict(SearchResult, json.loads(text))
    except (OSError, ValueError):
        return None
