"""How a CSV file is written: separator, decimal mark, and the names of its columns."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from agentloop.contracts.errors import SourceUnreadable
from agentloop.contracts.spec_data import CsvSource
from agentloop.data.text_encoding import find_encoding, holds_nul

SEPARATORS = ",;\t|"
MAX_COLUMNS = 10_000
JUDGED_ROWS = 1000
JUDGED_BYTES = 16 << 20  # no row is longer

_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_POINT = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")
_NAME_IT = "name it; if it is a row number, list that name under data.drop"


@dataclass(frozen=True, slots=True)
class Dialect:
    """``codec`` is Python's name of the encoding. ``padded``: blanks may stand between a separator
    and the quote that opens a value. ``notes`` tell people what was found out."""

    codec: str
    separator: str
    decimal: str
    names: tuple[str, ...]
    padded: bool
    has_header: bool
    notes: tuple[str, ...] = ()


def find_dialect(start: bytes, whole: bool, source: CsvSource, shown: str) -> Dialect:
    """The dialect of a file that begins with ``start`` (at least its first row), and is no more
    than that if ``whole``.

    Raises SourceUnreadable for an encoding that cannot be told, a separator that cannot be one, and
    a header that has a column twice, without a name, or too many of them; ValueError where the
    header is no CSV.
    """
    encoding = find_encoding(start, whole, source.encoding, shown)
    whole = whole and len(start) <= JUDGED_BYTES
    text = _decoded(start[:JUDGED_BYTES], encoding.codec).lstrip("\r\n\ufeff")
    if "\0" in text:
        raise holds_nul(shown)
    separator = _separator(text, source, shown)
    rows = _rows(text, separator, whole)
    names = _header(rows, shown) if source.header else _given_names(rows, source, shown)
    values = rows[1:] if source.header else rows
    decimal = _decimal(values, separator) if source.decimal == "auto" else source.decimal
    notes = [encoding.note] if encoding.note else []
    if decimal == "," and source.decimal == "auto":
        notes.append(f"{shown} was read with decimal commas")
    padded = separator != " " and any(
        value.startswith(" ") and value.lstrip(" ").startswith('"')
        for row in values
        for value in row
    )
    return Dialect(encoding.codec, separator, decimal, names, padded, source.header, tuple(notes))


def _decoded(start: bytes, codec: str) -> str:
    """Leniently: the reader tells of bytes that are no text, with their line."""
    return codecs.getincrementaldecoder(codec)("replace").decode(start)


def _separator(text: str, source: CsvSource, shown: str) -> str:
    if source.separator != "auto":
        if source.separator in '"\r\n\0' or not source.separator.isascii():
            reason = f"{source.separator!r} cannot separate values"
            raise SourceUnreadable(shown, reason, next_step="set data.source.separator to auto")
        return source.separator
    lines = [line for _, line in zip(range(51), io.StringIO(text, newline=None), strict=False)]
    bare = ["".join(line.split('"')[::2]) for line in lines if line.strip()]
    if source.header:
        return max(SEPARATORS, key=bare[0].count) if bare else ","
    # Without a header to go by: what is there equally often in every row. Commas come last, for
    # between the other separators they are decimal marks.
    for candidate in reversed(SEPARATORS):
        counts = {line.count(candidate) for line in bare[:-1] or bare}
        if len(counts) == 1 and counts != {0}:
            return candidate
    return max(SEPARATORS, key=lambda candidate: sum(line.count(candidate) for line in bare))


def _rows(text: str, separator: str, whole: bool) -> list[list[str]]:
    """The first rows, without blank ones; the last is left out where it may be cut short."""
    rows: list[list[str]] = []
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=separator)
    try:
        for row in reader:
            if row:
                rows.append(row)
            if len(rows) > JUDGED_ROWS:
                return rows
    except csv.Error as error:
        if not rows:
            raise ValueError(f"the header is not CSV ({error})") from None
    return rows if whole or len(rows) < 2 else rows[:-1]


def _header(rows: list[list[str]], shown: str) -> tuple[str, ...]:
    if not rows:
        raise ValueError("it has no header")
    names = _limited([_unquoted(name) for name in rows[0]], shown)
    seen: set[str] = set()
    for position, name in enumerate(names, start=1):
        if not name:
            reason = f"column {position} of the header has no name"
            raise SourceUnreadable(shown, reason, next_step=_NAME_IT)
        if name in seen:
            raise SourceUnreadable(
                shown, f"the header has '{name}' twice", next_step="rename one of the two"
            )
        seen.add(name)
    return tuple(names)


def _unquoted(name: str) -> str:
    """A name as it is meant where blanks follow the separators: ``a, "b"``."""
    name = name.strip()
    quoted = len(name) > 1 and name[0] == name[-1] == '"'
    return name[1:-1].replace('""', '"').strip() if quoted else name


def _given_names(rows: list[list[str]], source: CsvSource, shown: str) -> tuple[str, ...]:
    widths = [len(_limited(row, shown)) for row in rows]
    width = max(set(widths), key=widths.count, default=len(source.names))
    if width != len(source.names):
        raise SourceUnreadable(
            shown,
            f"its rows have {width} values and data.source.names lists {len(source.names)}",
            next_step="list one name a column, or set data.source.separator",
        )
    twice = next((name for name in source.names if source.names.count(name) > 1), None)
    if twice is not None:
        raise SourceUnreadable(shown, f"data.source.names has '{twice}' twice")
    return source.names


def _limited(row: list[str], shown: str) -> list[str]:
    if len(row) > MAX_COLUMNS:
        raise SourceUnreadable(
            shown,
            f"it has {len(row):,} columns, and {MAX_COLUMNS:,} are the most",
            next_step="check data.source.separator, or split the file by columns",
        )
    return row


def _decimal(rows: list[list[str]], separator: str) -> str:
    """A comma where values look like 3,14 and none like 3.14."""
    if separator == ",":
        return "."
    with_comma = any(_COMMA.fullmatch(value) for value in _values(rows))
    return "," if with_comma and not any(map(_POINT.fullmatch, _values(rows))) else "."


def _values(rows: list[list[str]]) -> Iterator[str]:
    return (value.strip() for row in rows for value in row)
