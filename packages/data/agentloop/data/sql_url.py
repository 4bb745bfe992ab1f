"""The URL of a database: what it means, and how it is shown without its password."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from agentloop.contracts.errors import SourceNotFound, SourceUnreadable
from agentloop.contracts.spec_data import SqlSource

_DIALECTS = {
    "postgresql": "postgres",
    "postgres": "postgres",
    "sqlite": "sqlite",
    "duckdb": "duckdb",
}
_FORMS = "use postgresql://user@host/database, sqlite:///file or duckdb:///file"


@dataclass(frozen=True, slots=True)
class Database:
    """``dialect`` is postgres, sqlite or duckdb; ``shown`` is the URL without its password.
    ``url`` (a server's) never is in the repr; ``file`` is set for sqlite and duckdb."""

    dialect: str
    shown: str
    url: str = field(default="", repr=False)
    file: Path | None = None

    @property
    def path(self) -> Path:
        assert self.file is not None
        return self.file


def find_database(source: SqlSource, base_dir: Path) -> Database:
    """Reads the environment variable ``url_env``. Raises SourceUnreadable for a URL of no known
    form, SourceNotFound where the database's file is not there."""
    url = source.url
    if url is None:
        url = os.environ.get(source.url_env or "", "").strip()
        if not url:
            raise SourceUnreadable(
                f"${source.url_env}",
                "that environment variable is not set",
                next_step=f"export {source.url_env}=postgresql://user:password@host/database",
            )
    return parse_url(url, base_dir)


def parse_url(url: str, base_dir: Path) -> Database:
    """Raises like ``find_database``."""
    shown = redacted(url)
    scheme, separator, rest = url.partition("://")
    dialect = _DIALECTS.get(scheme.lower())
    if dialect is None or not separator:
        raise SourceUnreadable(shown, "its URL is of no known form", next_step=_FORMS)
    if dialect == "postgres":
        return Database(dialect, shown, f"postgresql://{rest}")
    parts = urlsplit(url)
    name = unquote(parts.path[1:])
    if parts.netloc or parts.query or not name or "\0" in name or name == ":memory:":
        raise SourceUnreadable(shown, "its URL must hold a file and nothing else", next_step=_FORMS)
    file = base_dir / name
    if not file.is_file():
        raise SourceNotFound(
            shown, next_step=f"put the database at {name}, or mend data.source.url"
        )
    return Database(dialect, shown, file=file)


def redacted(url: str) -> str:
    """``url`` with ``***`` for its passwords. Greedy, because a password may hold an unescaped
    ``@`` or ``/``."""
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    rest = re.sub(r"\A([^:@/?#]*):.*@", r"\1:***@", rest, flags=re.S)
    hidden = scheme + separator + rest
    return re.sub(r"(?i)((?:pass|secret|token)\w*=)[^&\s]*", r"\1***", hidden)


def scrubbed(message: str, secret: str | None) -> str:
    """The first line of a driver's message, at most 300 characters, without ``secret``."""
    lines = message.strip().splitlines() or ["no reason given"]
    line = redacted(lines[0]) if "://" in lines[0] else lines[0]
    return (line.replace(secret, "***") if secret else line).rstrip(". ")[:300]
