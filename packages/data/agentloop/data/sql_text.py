"""SQL as text: its ``:name`` places, found without mistaking a cast or a string for one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agentloop.contracts.spec_data import Scalar

# Longest first where two could begin at one place. A quote or a comment that is not closed is
# matched by the last alternative, so that no text after it is taken for code or the reverse.
_COMMON = r"""
    --[^\n]*
  | /\*(?:(?!/\*).)*?\*/
  | "(?:[^"]|"")*"
  | ::|:=
  | :(?P<place>[A-Za-z_]\w*)
  | (?P<end>;)
  | (?P<bad>/\*|["'])
"""
_WITH_DOLLARS = rf"""
    (?P<bad_escape>[uU]&["'])
  | (?<!\w)[eE]'(?:[^'\\]|''|\\.)*'
  | '(?:[^']|'')*'
  | (?<!\w)\$(?P<tag>(?:[A-Za-z_]\w*)?)\$.*?\$(?P=tag)\$
  | (?P<bad_dollar>(?<!\w)\$(?:[A-Za-z_]\w*)?\$)
  | {_COMMON}
"""
_SQLITE = rf"""
    '(?:[^']|'')*'
  | `(?:[^`]|``)*` | \[[^\]]*\]
  | (?P<bad_sqlite>[`\[])
  | {_COMMON}
"""
_TOKENS = {
    "postgres": re.compile(_WITH_DOLLARS, re.X | re.S),
    "duckdb": re.compile(_WITH_DOLLARS, re.X | re.S),
    "sqlite": re.compile(_SQLITE, re.X | re.S),
}


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with ``:name`` places, and the ``values`` that are bound to them."""

    text: str
    values: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class SqlText:
    """SQL cut at its places: ``pieces`` has one entry more than ``places``. ``problem`` says what
    about its quotes, comments or semicolons cannot be read."""

    pieces: tuple[str, ...]
    places: tuple[str, ...]
    problem: str | None = None

    def joined(self, place: Callable[[str], str], piece: Callable[[str], str] = str) -> str:
        """The text with each place and each piece between them rendered anew."""
        parts = [piece(self.pieces[0])]
        for name, text in zip(self.places, self.pieces[1:], strict=True):
            parts += [place(name), piece(text)]
        return "".join(parts)


def cut(text: str, dialect: str) -> SqlText:
    """``text`` cut at its places, without the semicolon that ends it."""
    pieces: list[str] = [""]
    places: list[str] = []
    begin, problem = 0, None
    for token in _TOKENS[dialect].finditer(text):
        kind = token.lastgroup or ""
        name = token.groupdict().get("place")
        if token.group().startswith(("u&", "U&")):
            problem = "it holds a U& escape, which this program does not read"
        elif kind.startswith("bad"):
            problem = f"a {token.group()} is not closed, or comments lie in one another"
        if problem:
            return SqlText((text,), (), problem)
        if kind == "end":
            if _code(text[token.end() :], dialect):
                return SqlText((text,), (), "there is more than one statement")
            pieces[-1] += text[begin : token.start()]
            return SqlText(tuple(pieces), tuple(places))
        if name:
            pieces[-1] += text[begin : token.start()]
            places.append(name)
            pieces.append("")
            begin = token.end()
    pieces[-1] += text[begin:]
    return SqlText(tuple(pieces), tuple(places))


def _code(text: str, dialect: str) -> str:
    """What is left of ``text`` without comments and blanks."""
    comments = _TOKENS[dialect].sub(
        lambda t: "" if t.group().startswith(("--", "/*")) else t.group(), text
    )
    return comments.strip()
