"""A JSON lines source: all its rows, or its first ones and the parts that hold them all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from agentloop.contracts.errors import EmptySource
from agentloop.contracts.spec import DataSourceConfig
from agentloop.contracts.spec_data import JsonlSource
from agentloop.data.arrow_chunks import in_parts, pack_chunk
from agentloop.data.arrow_extract import Extract, TornRow
from agentloop.data.arrow_jsonl import JsonlParser, all_torn, parse_lines
from agentloop.data.arrow_table import KeyColumns, check_table, joined, key_columns
from agentloop.data.csv_cut import CHUNK_BYTES, Cut, cut_rows
from agentloop.data.csv_dialect import Dialect
from agentloop.data.csv_sheet import Prefixed, Sheet
from agentloop.data.gzip_stream import open_stream, read_up_to
from agentloop.data.jsonl_lines import judge_line
from agentloop.data.locate import folder_keys
from agentloop.data.source_file import SourceFile
from agentloop.data.text_encoding import UTF8, Recoded

HEAD_BYTES = 8 << 20
_BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}

Pieces = list[tuple[Sheet, Cut]]


@dataclass(frozen=True, slots=True)
class JsonlPart:
    """Some files of a JSON lines source, one after the other."""

    files: tuple[SourceFile, ...]
    chunk_bytes: int = CHUNK_BYTES

    def sheets(self) -> Iterator[tuple[Sheet, Cut]]:
        for file in self.files:
            with open_stream(file) as stream:
                start = read_up_to(stream, 3)
                codec = next((c for bom, c in _BOMS.items() if start.startswith(bom)), UTF8)
                sheet = _sheet(file, codec)
                text = Recoded(Prefixed(start, stream), codec, file.shown)
                for cut in cut_rows(text, None, file.shown, chunk_bytes=self.chunk_bytes):
                    yield sheet, cut

    def chunks(self) -> Iterator[pa.Table]:
        """One row each, as ``pack_chunk`` makes it. Raises SourceUnreadable."""
        return (pack_chunk(sheet, cut) for sheet, cut in self.sheets())


def extract_jsonl(
    files: tuple[SourceFile, ...], source: JsonlSource, config: DataSourceConfig, large_bytes: int
) -> Extract:
    """Raises EmptySource, SourceUnreadable, SchemaMismatch."""
    keys = key_columns(files, source.path)
    size = sum(file.size for file in files)
    large = size > large_bytes
    parts = tuple(JsonlPart(some) for some in in_parts(files))
    pieces, complete = _first(parts, HEAD_BYTES if large else large_bytes)
    if not pieces:
        raise EmptySource(source.path)
    head, torn = _inferred(pieces, source.path, config, keys)
    if torn and not head.num_rows:
        raise all_torn(source.path, torn)
    check_table(head, source.path)
    if complete and not large:
        return Extract(source.path, "jsonl", head, torn)
    columns = tuple(name for name in head.column_names if name not in keys.names)
    parser = JsonlParser(source.path, columns, keys)
    return Extract(source.path, "jsonl", head, parts=parts, parser=parser, size=size)


def _sheet(file: SourceFile, codec: str) -> Sheet:
    dialect = Dialect(codec, "", ".", (), padded=False, has_header=False)
    return Sheet(file.shown, file.below, dialect, tuple(folder_keys(file).items()))


def _first(parts: tuple[JsonlPart, ...], limit: int) -> tuple[Pieces, bool]:
    pieces: Pieces = []
    size = 0
    for part in parts:
        for piece in part.sheets():
            pieces.append(piece)
            size += len(piece[1].data)
            if size > limit:
                return pieces, False
    return pieces, True


def _inferred(
    pieces: Pieces, source: str, config: DataSourceConfig, keys: KeyColumns
) -> tuple[pa.Table, tuple[TornRow, ...]]:
    """One table, and its torn rows counted through all files."""
    declared = {name: spec.kind for name, spec in config.columns.items() if spec.kind is not None}
    tables: list[pa.Table] = []
    torn: list[TornRow] = []
    before = 0
    for sheet, cut in _by_file(pieces):
        here = {name: kind for name, kind in declared.items() if f'"{name}"'.encode() in cut.data}
        raw = parse_lines(sheet.shown, cut, here)
        torn += [TornRow((row.number or 0) + before, row.text, row.reason) for row in raw.torn]
        before += raw.table.num_rows + len(raw.torn)
        if raw.table.num_rows:
            table = raw.table.select(_in_order(raw.table.column_names, cut.data))
            tables.append(keys.added_to(table, dict(sheet.keys), sheet.shown))
    return (joined(tables, source) if tables else pa.table({})), tuple(torn)


def _in_order(names: list[str], data: bytes) -> list[str]:
    """As in the first object: Arrow puts those first whose type it was told."""
    lines = (line for line in data.split(b"\n", 100))
    first = next((value for value in map(_object, lines) if value is not None), {})
    return [name for name in first if name in names] + [n for n in names if n not in first]


def _object(line: bytes) -> dict[str, object] | None:
    return judge_line(line)[0] if line.strip() and len(line) < HEAD_BYTES else None


def _by_file(pieces: Pieces) -> Iterator[tuple[Sheet, Cut]]:
    below = dict.fromkeys(sheet.below for sheet, _ in pieces)
    for name in below:
        some = [(sheet, cut) for sheet, cut in pieces if sheet.below == name]
        yield some[0][0], Cut(b"".join(cut.data for _, cut in some), some[0][1].first_line)
