"""A CSV file as stretches of whole rows, in UTF-8, below its header."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agentloop.contracts.errors import SourceUnreadable
from agentloop.contracts.spec_data import CsvSource
from agentloop.data.csv_cut import (
    CHUNK_BYTES,
    MAX_ROW_BYTES,
    Cut,
    Quoting,
    count_lines,
    cut_rows,
    first_row_end,
    too_long,
)
from agentloop.data.csv_dialect import Dialect, find_dialect
from agentloop.data.gzip_stream import READ_BYTES, ByteStream, open_stream, read_up_to
from agentloop.data.locate import folder_keys
from agentloop.data.source_file import SourceFile
from agentloop.data.text_encoding import Recoded, undecodable


@dataclass(frozen=True, slots=True)
class Sheet:
    """What its rows' parser must know of a file. ``keys`` are its ``key=value`` folders."""

    shown: str
    below: str
    dialect: Dialect
    keys: tuple[tuple[str, str | None], ...] = ()

    @property
    def quoting(self) -> Quoting:
        return Quoting(self.dialect.separator, self.dialect.padded)


class Prefixed:
    """A stream, once more from its beginning: the part that was read, then the rest."""

    def __init__(self, start: bytes, rest: ByteStream) -> None:
        self._start, self._at, self._rest = start, 0, rest

    def read(self, size: int, /) -> bytes:
        if self._at < len(self._start):
            block = self._start[self._at : self._at + size]
            self._at += len(block)
            return block
        self._start = b""
        return self._rest.read(size)


def read_sheet(
    file: SourceFile, source: CsvSource, sample_bytes: int, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[tuple[Sheet, Cut]]:
    """The file's rows; its dialect is judged by its first ``sample_bytes``. None for a blank file.

    Raises SourceUnreadable.
    """
    with open_stream(file) as stream:
        start = first_rows(stream, sample_bytes)
        if not start.strip():
            return
        if not (b"\n" in start or b"\r" in start) and len(start) > MAX_ROW_BYTES:
            raise too_long(file.shown, 1, start, None)
        whole = len(start) < sample_bytes
        try:
            dialect = find_dialect(start, whole, source, file.shown)
        except ValueError as error:
            raise SourceUnreadable(file.shown, str(error)) from None
        sheet = Sheet(file.shown, file.below, dialect, tuple(folder_keys(file).items()))
        text = Recoded(Prefixed(start, stream), dialect.codec, file.shown)
        body, line = _below_header(text, sheet)
        rows = Prefixed(body, text)
        for cut in cut_rows(rows, sheet.quoting, file.shown, line, chunk_bytes):
            yield sheet, cut


def first_rows(stream: ByteStream, sample_bytes: int) -> bytes:
    """The first ``sample_bytes``, or as many more as the first line needs."""
    start = read_up_to(stream, sample_bytes)
    while not (b"\n" in start or b"\r" in start) and len(start) <= MAX_ROW_BYTES:
        more = read_up_to(stream, READ_BYTES)
        if not more:
            break
        start += more
    return start


def undecodable_in(cut: Cut, shown: str) -> SourceUnreadable:
    """The error that names the first line of ``cut`` that is not UTF-8."""
    try:
        cut.data.decode()
    except UnicodeDecodeError as error:
        return undecodable(shown, cut.first_line + count_lines(cut.data[: error.start]))
    return undecodable(shown, cut.first_line)


def _below_header(text: ByteStream, sheet: Sheet) -> tuple[bytes, int]:
    """The beginning of the first data row, and the number of its line."""
    data = read_up_to(text, READ_BYTES)
    body = data.lstrip(b"\r\n")
    line = 1 + count_lines(data[: len(data) - len(body)])
    if not sheet.dialect.has_header:
        return body, line
    while not (end := first_row_end(body, sheet.quoting)):
        more = text.read(READ_BYTES)
        if not more:
            return b"", line
        body += more
        if len(body) > MAX_ROW_BYTES:
            raise too_long(sheet.shown, line, body, sheet.quoting)
    return body[end:], line + max(1, count_lines(body[:end]))
