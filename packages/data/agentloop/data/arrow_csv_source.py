"""A CSV source: all its rows, or its first ones and the parts that hold them all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby

import pyarrow as pa

from agentloop.contracts.data import ColumnKind
from agentloop.contracts.errors import EmptySource
from agentloop.contracts.spec import DataSourceConfig
from agentloop.contracts.spec_data import CsvSource
from agentloop.data.arrow_chunks import CsvPart, in_parts
from agentloop.data.arrow_csv import CsvParser, all_torn, infer_rows
from agentloop.data.arrow_extract import Extract, RawRows, TornRow
from agentloop.data.arrow_table import KeyColumns, check_columns, check_table, joined, key_columns
from agentloop.data.csv_cut import Cut
from agentloop.data.csv_sheet import Sheet
from agentloop.data.source_file import SourceFile

SAMPLE_BYTES = 1 << 20
HEAD_BYTES = 16 << 20

Pieces = list[tuple[Sheet, Cut]]


def extract_csv(
    files: tuple[SourceFile, ...], source: CsvSource, config: DataSourceConfig, large_bytes: int
) -> Extract:
    """Raises EmptySource, SourceUnreadable, SchemaMismatch."""
    keys = key_columns(files, source.path)
    size = sum(file.size for file in files)
    large = size > large_bytes
    # Of a small source every byte is judged, so that an umlaut in its last row is not overlooked.
    sample_bytes = SAMPLE_BYTES if large else max(large_bytes, SAMPLE_BYTES) + 1
    parts = tuple(CsvPart(some, source, sample_bytes) for some in in_parts(files))
    pieces, complete = _first(parts, HEAD_BYTES if large else large_bytes)
    if not pieces:
        raise EmptySource(source.path)
    notes = tuple(dict.fromkeys(note for sheet, _ in pieces for note in sheet.dialect.notes))
    raw = _inferred(pieces, source.path, _declared(config), config.missing, keys)
    if raw.torn and not raw.table.num_rows:
        raise all_torn(source.path, list(raw.torn))
    check_table(raw.table, source.path)
    if complete and not large:
        return Extract(source.path, "csv", raw.table, raw.torn, from_text=True, notes=notes)
    columns = pieces[0][0].dialect.names
    parser = CsvParser(source.path, columns, keys, config.missing)
    return Extract(source.path, "csv", raw.table, (), parts, parser, True, notes, size)


def _first(parts: tuple[CsvPart, ...], limit: int) -> tuple[Pieces, bool]:
    """Chunks up to about ``limit`` bytes, and whether these are all."""
    pieces: Pieces = []
    size = 0
    for part in parts:
        for sheet, cut in part.sheets():
            pieces.append((sheet, cut))
            size += len(cut.data)
            if size > limit:
                return pieces, False
    return pieces, True


def _declared(config: DataSourceConfig) -> Mapping[str, ColumnKind]:
    return {name: spec.kind for name, spec in config.columns.items() if spec.kind is not None}


def _inferred(
    pieces: Pieces,
    source: str,
    kinds: Mapping[str, ColumnKind],
    missing: tuple[str, ...],
    keys: KeyColumns,
) -> RawRows:
    """The pieces' rows. A column whose types differ between files is text in all of them."""
    whole = list(_by_file(pieces))
    first = whole[0][0].dialect.names
    for sheet, _ in whole:
        check_columns(sheet.dialect.names, first, sheet.below, source)
    raws = [infer_rows(sheet, cut, frozenset(), kinds, missing) for sheet, cut in whole]
    texts = _clashing([raw.table for raw in raws], first)
    if texts:
        raws = [infer_rows(sheet, cut, texts, kinds, missing) for sheet, cut in whole]
    tables = [
        keys.added_to(raw.table.select(first), dict(sheet.keys), sheet.shown)
        for (sheet, _), raw in zip(whole, raws, strict=True)
    ]
    return RawRows(joined(tables, source), tuple(_numbered(raws)))


def _by_file(pieces: Pieces) -> Iterator[tuple[Sheet, Cut]]:
    for _, some in groupby(pieces, key=lambda piece: piece[0].below):
        found = list(some)
        sheet, cut = found[0]
        data = b"".join(piece.data for _, piece in found) if len(found) > 1 else cut.data
        yield sheet, Cut(data, cut.first_line)


def _clashing(tables: list[pa.Table], names: tuple[str, ...]) -> frozenset[str]:
    numbers = {pa.int64(), pa.float64(), pa.null()}
    clashing = set()
    for name in names:
        kinds = {table.schema.field(name).type for table in tables} - {pa.null()}
        if len(kinds) > 1 and not kinds <= numbers:
            clashing.add(name)
    return frozenset(clashing)


def _numbered(raws: list[RawRows]) -> Iterator[TornRow]:
    """The torn rows, counted through all files."""
    before = 0
    for raw in raws:
        for row in raw.torn:
            number = None if row.number is None else before + row.number
            yield TornRow(number, row.text, row.reason)
        before += raw.table.num_rows + len(raw.torn)
