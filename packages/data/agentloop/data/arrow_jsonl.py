"""JSON lines into pyarrow tables: Arrow reads a chunk at once; where it refuses, each line is
judged by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.json

from agentloop.contracts.data import ColumnKind
from agentloop.contracts.errors import SchemaMismatch, SourceUnreadable
from agentloop.data.arrow_chunks import unpack_chunk
from agentloop.data.arrow_extract import RawRows, TornRow
from agentloop.data.arrow_numbers import number_texts
from agentloop.data.arrow_table import KeyColumns, check_schema, first_line
from agentloop.data.csv_cut import Cut
from agentloop.data.csv_dialect import MAX_COLUMNS
from agentloop.data.jsonl_lines import judge_line, nests_deep

MAX_TORN = 50_000
TORN_TEXT = 200
MAX_RELAXED = 20

Kinds = Mapping[str, ColumnKind]
_TYPES: dict[ColumnKind, pa.DataType] = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
}
_KEY = re.compile(rb'"([^"\\]*)"\s*:')
_CLASH = re.compile(r"Column\(/(.*)\) changed from \w+ to (\w+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class JsonlParser:
    """Parses what ``JsonlPart`` cuts. ``columns`` are those of the source's beginning."""

    source: str
    columns: tuple[str, ...]
    keys: KeyColumns

    def __call__(self, chunk: pa.Table, kinds: Kinds) -> RawRows:
        """Columns that a chunk lacks are null. Raises SourceUnreadable; SchemaMismatch for a
        column that the beginning does not have."""
        sheet, cut = unpack_chunk(chunk)
        known = {name: kinds.get(name, "text") for name in self.columns}
        raw = parse_lines(sheet.shown, cut, known, closed=True)
        new = [name for name in raw.table.column_names if name not in known]
        if new:
            told = [f"column '{name}' is not in the first rows of {sheet.below}" for name in new]
            hint = "give the first row every key (null will do), or mend those rows"
            raise SchemaMismatch(self.source, tuple(told[:10]), next_step=hint)
        table = raw.table.select(self.columns)
        return RawRows(self.keys.added_to(table, dict(sheet.keys), sheet.shown), raw.torn)


def parse_lines(shown: str, cut: Cut, kinds: Kinds, closed: bool = False) -> RawRows:
    """Rows with the columns of ``kinds`` first: as those kinds where every value fits, else of the
    type that the values have, or as text where they have several. Other columns are inferred; if
    ``closed``, only their names and first rows are to be relied on.

    Raises SourceUnreadable for a column of several types that ``kinds`` does not have.
    """
    torn: tuple[TornRow, ...] = ()
    data = cut.data
    if not closed:
        _check_keys(shown, data)
    try:
        if nests_deep(data):
            raise pa.ArrowInvalid("too deep")
        table = _read_relaxed(shown, data, kinds, closed)
    except pa.ArrowInvalid:
        rows, torn = _judged(shown, data)
        table = _read_judged(shown, rows, kinds, closed)
    check_schema(table.schema, shown)
    for name, kind in kinds.items():
        table = _as_kind(table, name, kind)
    return RawRows(table, torn)


def _check_keys(shown: str, data: bytes) -> None:
    """Refuse more keys than there may be columns before Arrow makes a column of each."""
    keys = len(set(_KEY.findall(data)))
    if keys > MAX_COLUMNS:
        reason = f"it has {keys:,} columns, and {MAX_COLUMNS:,} are the most"
        raise SourceUnreadable(shown, reason, next_step="write the same keys in every line")


def _read_judged(
    shown: str, rows: list[tuple[bytes, dict[str, Any]]], kinds: Kinds, closed: bool
) -> pa.Table:
    if not rows:
        return pa.table({name: pa.array([], pa.string()) for name in kinds})
    if closed:
        new = next((row for _, row in rows if not row.keys() <= kinds.keys()), None)
        if new is not None:
            return pa.table({name: pa.nulls(1) for name in new})
    try:
        data = b"\n".join(line for line, _ in rows)
        return _read_relaxed(shown, data, kinds, closed)
    except pa.ArrowInvalid as error:
        clash = _CLASH.search(str(error))
        if clash is None:
            raise SourceUnreadable(shown, first_line(error)) from None
        name = clash.group(1)
        if name not in kinds:
            raise SourceUnreadable(
                shown,
                f"column '{name}' holds values of several kinds ({clash.group(2)} among them)",
                next_step=f"declare it under data.columns ({name}: {{kind: …}}); values of another "
                "kind are then held against data.checks.policy.kind",
            ) from None
    names = dict.fromkeys([*kinds, *(name for _, row in rows for name in row)])
    return pa.table(
        {name: _column([row.get(name) for _, row in rows], name, shown) for name in names}
    )


def _read_relaxed(shown: str, data: bytes, kinds: Kinds, closed: bool) -> pa.Table:
    """Read with the types of ``kinds``, letting go of those that the values contradict."""
    types = {name: _TYPES.get(kind, pa.string()) for name, kind in kinds.items()}
    relaxed: set[str] = set()
    for _ in range(MAX_RELAXED):
        try:
            return _read(data, types, closed and not relaxed)
        except pa.ArrowInvalid as error:
            clash = _CLASH.search(str(error))
            if clash is not None and clash.group(1) in types.keys() - relaxed:
                _check_keys(shown, data)  # those not told of are inferred now
                relaxed.add(clash.group(1))
                if clash.group(2) == "string":
                    # Not left to inference, which would read some texts as times.
                    types[clash.group(1)] = pa.string()
                else:
                    del types[clash.group(1)]
            elif "Failed to convert JSON to int64" in str(error):
                whole = {name for name, kind in types.items() if kind == pa.int64()}
                if not whole:
                    raise
                types |= dict.fromkeys(whole, pa.float64())
            else:
                raise
    return _read(data, {}, False)


def _read(data: bytes, types: Mapping[str, pa.DataType], closed: bool) -> pa.Table:
    table = pa.json.read_json(
        pa.BufferReader(data),
        # One block: types are inferred from the first block alone.
        read_options=pa.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=pa.json.ParseOptions(
            explicit_schema=pa.schema(list(types.items())),
            unexpected_field_behavior="error" if closed else "infer",
        ),
    )
    table.validate(full=True)
    return table


def _as_kind(table: pa.Table, name: str, kind: ColumnKind) -> pa.Table:
    """A column that is not there as nulls; one of another type than its kind in a form that does
    not depend on its neighbours: 1 and not 1.0 where another row has 2.5."""
    if name not in table.column_names:
        return table.append_column(name, pa.nulls(table.num_rows, _TYPES.get(kind, pa.string())))
    index = table.column_names.index(name)
    column = table.column(index)
    if kind == "integer" and pa.types.is_floating(column.type):
        try:
            column = column.cast(pa.int64())
        except pa.ArrowInvalid:
            return table
    elif kind in ("number", "integer") and pa.types.is_boolean(column.type):
        column = column.cast(pa.string())  # no number, though a cast would make it one
    elif kind in ("category", "text") and pa.types.is_floating(column.type):
        column = number_texts(column)
    return table.set_column(index, name, column)


def _judged(
    shown: str, data: bytes
) -> tuple[list[tuple[bytes, dict[str, Any]]], tuple[TornRow, ...]]:
    rows: list[tuple[bytes, dict[str, Any]]] = []
    torn: list[TornRow] = []
    for line in data.split(b"\n"):
        if not line.strip():
            continue
        value, reason = judge_line(line)
        if value is not None:
            rows.append((line, value))
            continue
        number = len(rows) + len(torn) + 1
        torn.append(TornRow(number, line[:TORN_TEXT].decode("utf-8", "replace"), reason))
        if len(torn) == MAX_TORN:
            raise all_torn(shown, tuple(torn))
    return rows, tuple(torn)


def all_torn(shown: str, rows: tuple[TornRow, ...]) -> SourceUnreadable:
    told = "; ".join(f"data row {row.number} {row.reason}" for row in rows[:3])
    return SourceUnreadable(
        shown,
        f"hardly a line of it is a JSON object: {told}",
        next_step="write one JSON object a line",
    )


def _column(values: list[Any], name: str, shown: str) -> pa.Array:
    """Values of one type as they are, of several as text. Raises SourceUnreadable for nested
    ones."""
    kinds = {type(value) for value in values if value is not None}
    if kinds & {list, dict}:
        reason = f"column '{name}' holds objects or arrays, not one plain value a row"
        raise SourceUnreadable(shown, reason, next_step="flatten that column")
    if len(kinds) <= 1 or kinds == {int, float}:
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            pass
    return pa.array([_text(value) for value in values], pa.string())


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**63):
        return json.dumps(value)
    text: str = number_texts(pa.array([float(value)]))[0].as_py()
    return text
