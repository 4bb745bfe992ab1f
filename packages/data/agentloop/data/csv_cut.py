"""Cut CSV bytes at row ends, exactly as Arrow's parser sees them, without parsing fields.

A quote opens a quoted value only where a field begins; inside one, a doubled quote stands for
itself, and line ends do not end the row. Where every second quote follows a separator, a line end
or a quote, counting quotes tells inside from outside: that is vectorised, and the usual case. Other
quotes (5" pipe) make the exact, slower scan necessary.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from agentloop.contracts.errors import SourceUnreadable
from agentloop.data.gzip_stream import ByteStream, read_up_to

CHUNK_BYTES = 8 << 20
MAX_ROW_BYTES = 16 << 20

_QUOTE = 0x22
_LINE_ENDS = (b"\n", b"\r")
_LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Quoting:
    """``padded``: blanks may stand between a separator and the quote that opens a value."""

    separator: str
    padded: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """Whole rows; ``first_line`` is the number, from 1, of their first line in the file."""

    data: bytes
    first_line: int


def cut_rows(
    stream: ByteStream,
    quoting: Quoting | None,
    shown: str,
    first_line: int = 1,
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[Cut]:
    """The stream in stretches of whole rows of about ``chunk_bytes``, lines where ``quoting`` is
    None. Raises SourceUnreadable for a row above MAX_ROW_BYTES and a quote that is never closed."""
    kept = b""
    while block := read_up_to(stream, chunk_bytes):
        data = kept + block
        end = last_row_end(data, quoting)
        if end == 0 and len(data) > MAX_ROW_BYTES:
            raise too_long(shown, first_line, data, quoting)
        kept = data[end:]
        if end:
            rows = data[:end]
            yield Cut(rows, first_line)
            first_line += count_lines(rows)
    if kept.strip(b"\r\n"):
        if len(kept) > MAX_ROW_BYTES:
            raise too_long(shown, first_line, kept, quoting)
        if quoting is not None and not _ends_outside(kept, quoting):
            raise _unclosed(shown, first_line)
        yield Cut(kept, first_line)


def last_row_end(data: bytes, quoting: Quoting | None) -> int:
    """The place after the last line end outside quotes; 0 if there is none. ``data`` begins with a
    row. A carriage return at the very end is none, for a line feed may follow it."""
    if quoting is None or b'"' not in data:
        return _last_line_end(data, 0, len(data))
    quotes = _paired_quotes(data, quoting)
    if quotes is None:
        return _last_end_scanned(data, quoting)
    if len(quotes) % 2 == 0:
        after = int(quotes[-1]) + 1
        if end := _last_line_end(data, after, len(data)):
            return end
    for line_end in _LINE_ENDS:
        places = np.flatnonzero(np.frombuffer(data, np.uint8) == line_end[0])
        if line_end == b"\r" and len(places) and places[-1] == len(data) - 1:
            places = places[:-1]
        outside = places[np.searchsorted(quotes, places) % 2 == 0]
        if len(outside):
            return int(outside[-1]) + 1
    return 0


def first_row_end(data: bytes, quoting: Quoting) -> int:
    """The place after the first line end outside quotes; 0 if there is none."""
    at = 0
    for match in _quoted(quoting).finditer(data):
        if found := _LINE_END.search(data, at, match.start() + 1):
            return found.end()
        at = match.end()
    found = _LINE_END.search(data, at)
    return found.end() if found else 0


def unpadded(data: bytes, quoting: Quoting) -> bytes:
    """``data`` without the blanks before quotes that open a value."""
    return _quoted(quoting).sub(rb"\1\2\3", data)


def count_lines(data: bytes) -> int:
    return data.count(b"\n") or data.count(b"\r")


def _last_line_end(data: bytes, start: int, end: int) -> int:
    place = data.rfind(b"\n", start, end)
    if place < 0:
        place = data.rfind(b"\r", start, min(end, len(data) - 1))
    return place + 1


def _paired_quotes(data: bytes, quoting: Quoting) -> np.ndarray | None:
    """The places of all quotes if counting them tells inside from outside, else None."""
    if quoting.padded:
        return None
    values = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(values == _QUOTE)
    opening = quotes[0::2]
    opening = opening[1:] if len(opening) and opening[0] == 0 else opening
    before = values[opening - 1]
    allowed = np.zeros(256, bool)
    allowed[list(f'\r\n"{quoting.separator}'.encode())] = True
    return quotes if bool(allowed[before].all()) else None


def _last_end_scanned(data: bytes, quoting: Quoting) -> int:
    end = at = 0
    for match in _quoted(quoting).finditer(data):
        end = _last_line_end(data, at, match.start() + 1) or end
        if not match.group(3):
            return end
        at = match.end()
    return _last_line_end(data, at, len(data)) or end


def _ends_outside(data: bytes, quoting: Quoting) -> bool:
    if b'"' not in data:
        return True
    quotes = _paired_quotes(data, quoting)
    if quotes is not None:
        return len(quotes) % 2 == 0
    return all(match.group(3) for match in _quoted(quoting).finditer(data))


@lru_cache(maxsize=16)
def _quoted(quoting: Quoting) -> re.Pattern[bytes]:
    """A quoted value: what is before it, its beginning, and its closing quote (or the end)."""
    separator = re.escape(quoting.separator.encode())
    blanks = rb" *" if quoting.padded else b""
    return re.compile(rb"(\A|[\r\n]|" + separator + rb")" + blanks + rb'("(?:[^"]++|"")*+)("|\Z)')


def too_long(shown: str, line: int, data: bytes, quoting: Quoting | None) -> SourceUnreadable:
    if quoting is not None and _last_line_end(data, 0, len(data)):
        return _unclosed(shown, line)
    limit = MAX_ROW_BYTES >> 20
    return SourceUnreadable(
        shown,
        f"the row that begins in line {line} is longer than {limit} MB",
        next_step="check the file's line ends, and that it is text",
    )


def _unclosed(shown: str, line: int) -> SourceUnreadable:
    return SourceUnreadable(
        shown,
        f"a quote that is opened in or after line {line} is not closed",
        next_step="close it, or double it if it is part of a value",
    )
