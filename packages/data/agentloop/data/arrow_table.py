"""What every source's table must be, and columns that its folders stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from agentloop.contracts.errors import EmptySource, SchemaMismatch, SourceUnreadable
from agentloop.data.csv_dialect import MAX_COLUMNS
from agentloop.data.locate import folder_keys
from agentloop.data.source_file import SourceFile

MAX_DIFFERENCES = 10


@dataclass(frozen=True, slots=True)
class KeyColumns:
    """Columns that come from ``key=value`` folders, and their types."""

    fields: tuple[pa.Field, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    def added_to(self, table: pa.Table, keys: Mapping[str, str | None], shown: str) -> pa.Table:
        """``table`` with this file's keys. Raises SourceUnreadable where it has such a column."""
        for field in self.fields:
            if field.name in table.column_names:
                raise SourceUnreadable(
                    shown, f"'{field.name}' is a column of it, and the name of a folder above it"
                )
            value = pa.scalar(keys[field.name], pa.string()).cast(field.type)
            table = table.append_column(field, pa.repeat(value, table.num_rows))
        return table


def key_columns(files: Iterable[SourceFile], source: str) -> KeyColumns:
    """Whole numbers and dates where all folders of a key are such, else texts. Raises
    SchemaMismatch for files below folders of other keys."""
    values: dict[str, set[str | None]] | None = None
    for file in files:
        keys = folder_keys(file)
        if values is None:
            values = {key: set() for key in keys}
        if set(keys) != set(values):
            told = f"{file.below} lies below other key=value folders than the first file"
            raise SchemaMismatch(source, (told,), next_step="nest all files in the same keys")
        for key, value in keys.items():
            values[key].add(value)
    fields = [pa.field(key, _type_of(seen)) for key, seen in (values or {}).items()]
    return KeyColumns(tuple(fields))


def check_table(table: pa.Table, source: str) -> None:
    """Raises EmptySource, and SourceUnreadable for a column that cannot be one."""
    if table.num_rows == 0 or table.num_columns == 0:
        raise EmptySource(source)
    check_schema(table.schema, source)


def check_schema(schema: pa.Schema, source: str) -> None:
    """Raises SourceUnreadable for a column that is there twice, has no name, or is nested."""
    if len(schema) > MAX_COLUMNS:
        reason = f"it has {len(schema):,} columns, and {MAX_COLUMNS:,} are the most"
        raise SourceUnreadable(source, reason, next_step="select fewer columns")
    seen: set[str] = set()
    for position, field in enumerate(schema, start=1):
        if field.name in seen:
            raise SourceUnreadable(source, f"column '{field.name}' is there twice")
        seen.add(field.name)
        if not field.name.strip():
            raise SourceUnreadable(
                source,
                f"column {position} has no name",
                next_step="name it; if it is a row number, list that name under data.drop",
            )
        if pa.types.is_nested(field.type) and not pa.types.is_dictionary(field.type):
            raise SourceUnreadable(
                source,
                f"column '{field.name}' holds {field.type}, not one plain value a row",
                next_step="flatten that column, for instance in a callable source",
            )


def check_columns(names: Iterable[str], first: Iterable[str], file: str, source: str) -> None:
    """Raises SchemaMismatch where a file has other columns than the first one."""
    own, wanted = list(names), list(first)
    owned, known = set(own), set(wanted)
    absent = [f"{file} has no column '{name}'" for name in wanted if name not in owned]
    added = [f"only {file} has a column '{name}'" for name in own if name not in known]
    if absent or added:
        raise SchemaMismatch(source, tuple(absent + added)[:MAX_DIFFERENCES])


def joined(tables: list[pa.Table], source: str) -> pa.Table:
    """The tables below each other, numbers as wide as the widest. Raises SchemaMismatch."""
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise SchemaMismatch(source, (first_line(error),)) from None


def plain(table: pa.Table) -> pa.Table:
    """The table without dictionaries (categoricals) and metadata."""
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            column = table.column(index).cast(field.type.value_type)
            table = table.set_column(index, field.name, column)
    return table.replace_schema_metadata(None)


def first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else repr(error)


def _type_of(values: set[str | None]) -> pa.DataType:
    texts = pa.array(sorted(value for value in values if value is not None), pa.string())
    # A number with a leading zero is a code: 01 must not become 1.
    codes = pc.any(pc.match_substring_regex(texts, r"^-?0\d")).as_py()
    for kind in (pa.int64(), pa.date32()):
        try:
            texts.cast(kind)
        except pa.ArrowInvalid:
            continue
        return pa.string() if codes or not len(texts) else kind
    return pa.string()
