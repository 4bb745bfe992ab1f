"""CSV rows into pyarrow tables: with known kinds where they fit, else as text; or inferred."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from agentloop.contracts.data import ColumnKind
from agentloop.contracts.errors import SourceUnreadable
from agentloop.data.arrow_chunks import unpack_chunk
from agentloop.data.arrow_extract import RawRows, TornRow
from agentloop.data.arrow_numbers import cast_where_all_fit, mend_numbers
from agentloop.data.arrow_table import KeyColumns, check_columns, first_line
from agentloop.data.csv_cut import Cut, unpadded
from agentloop.data.csv_sheet import Sheet, undecodable_in
from agentloop.data.text_encoding import holds_nul

MAX_TORN = 50_000
TORN_TEXT = 200

Kinds = Mapping[str, ColumnKind]
_NUMBERS: dict[ColumnKind, pa.DataType] = {"number": pa.float64(), "integer": pa.int64()}


@dataclass(frozen=True, slots=True)
class CsvParser:
    """Parses what ``CsvPart`` cuts. ``columns`` are those of the source's first file."""

    source: str
    columns: tuple[str, ...]
    keys: KeyColumns
    missing: tuple[str, ...]

    def __call__(self, chunk: pa.Table, kinds: Kinds) -> RawRows:
        """Raises SourceUnreadable, SchemaMismatch."""
        sheet, cut = unpack_chunk(chunk)
        check_columns(sheet.dialect.names, self.columns, sheet.below, self.source)
        raw = parse_rows(sheet, cut, kinds, self.missing)
        table = raw.table.select(self.columns)
        return RawRows(self.keys.added_to(table, dict(sheet.keys), sheet.shown), raw.torn)


def parse_rows(sheet: Sheet, cut: Cut, kinds: Kinds, missing: tuple[str, ...]) -> RawRows:
    """Rows with number columns as numbers where every value fits, and text for all else."""
    types = {
        name: _NUMBERS.get(kinds.get(name, "text"), pa.string()) for name in sheet.dialect.names
    }
    try:
        return _read(sheet, cut, types, missing)
    except pa.ArrowInvalid:
        texts = dict.fromkeys(sheet.dialect.names, pa.string())
    try:
        raw = _read(sheet, cut, texts, missing)
    except pa.ArrowInvalid as error:
        raise _told(error, sheet, cut) from None
    table = raw.table
    for index, name in enumerate(sheet.dialect.names):
        kind = kinds.get(name, "text")
        if kind in _NUMBERS:
            text = _trimmed(table.column(index).combine_chunks(), missing)
            column = cast_where_all_fit(text, kind, sheet.dialect.decimal)
            table = table.set_column(index, name, column)
    return RawRows(table, raw.torn)


def infer_rows(
    sheet: Sheet, cut: Cut, texts: frozenset[str], kinds: Kinds, missing: tuple[str, ...]
) -> RawRows:
    """Rows of the types that the values suggest. Columns in ``texts`` stay text; ``kinds`` are
    those declared, by which numbers in text are mended. Raises SourceUnreadable."""
    types = {name: pa.string() for name in sheet.dialect.names if name in texts}
    try:
        raw = _read(sheet, cut, types, missing)
    except pa.ArrowInvalid as error:
        raise _told(error, sheet, cut) from None
    table = raw.table
    for index, field in enumerate(table.schema):
        kind = kinds.get(field.name, "text")
        if pa.types.is_binary(field.type):
            raise undecodable_in(cut, sheet.shown)
        if pa.types.is_string(field.type) and kind in _NUMBERS:
            text = _trimmed(table.column(index).combine_chunks(), missing)
            mended = mend_numbers(text, kind, sheet.dialect.decimal)
            table = table.set_column(index, field.name, mended)
    return RawRows(table, raw.torn)


def _read(
    sheet: Sheet, cut: Cut, types: Mapping[str, pa.DataType], missing: tuple[str, ...]
) -> RawRows:
    data = unpadded(cut.data, sheet.quoting) if sheet.dialect.padded else cut.data
    if b"\0" in data:
        raise holds_nul(sheet.shown)
    torn = _Torn(sheet)
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(data),
            # One block: types are inferred from the first block alone. One thread: only so are
            # torn rows numbered.
            read_options=pa.csv.ReadOptions(
                use_threads=False, block_size=len(data) + 1, column_names=sheet.dialect.names
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter=sheet.dialect.separator, newlines_in_values=True, invalid_row_handler=torn
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=types,
                null_values=[*missing, *(f" {token}" for token in missing)],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                decimal_point=sheet.dialect.decimal,
            ),
        )
    finally:
        torn.check()  # whatever Arrow says of it
    return RawRows(table, tuple(torn.rows))


class _Torn:
    """Keeps the rows that Arrow cannot read as ones of so many values, and lets it go on."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._blank = 0
        self.rows: list[TornRow] = []

    def __call__(self, row: Any) -> str:
        if len(self.rows) == MAX_TORN:
            return "error"
        if not row.text.strip():
            self._blank += 1  # as a row without anything at all, which Arrow does not count
            return "skip"
        number = row.number - self._blank
        reason = f"has {row.actual_columns} values and the header {row.expected_columns}"
        self.rows.append(TornRow(number, row.text[:TORN_TEXT], reason))
        return "skip"

    def check(self) -> None:
        """Raises SourceUnreadable where there were too many."""
        if len(self.rows) == MAX_TORN:
            raise all_torn(self._sheet.shown, self.rows)


def all_torn(shown: str, rows: list[TornRow]) -> SourceUnreadable:
    told = "; ".join(f"data row {row.number} {row.reason}" for row in rows[:3])
    return SourceUnreadable(
        shown,
        f"hardly a row fits its header: {told}",
        next_step="set data.source.separator, or mend those rows",
    )


def _told(error: pa.ArrowInvalid, sheet: Sheet, cut: Cut) -> SourceUnreadable:
    if "UTF8" in str(error) or "utf-8" in str(error).lower():
        return undecodable_in(cut, sheet.shown)
    return SourceUnreadable(sheet.shown, first_line(error))


def _trimmed(text: pa.Array, missing: tuple[str, ...]) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(text)
    return pc.if_else(pc.is_in(trimmed, value_set=pa.array(missing, pa.string())), None, trimmed)
