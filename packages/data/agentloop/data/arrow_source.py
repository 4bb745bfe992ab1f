"""Read a source into one pyarrow Table, or a first part of it where it is large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from agentloop.contracts.errors import EmptySource, SchemaMismatch, SourceUnreadable
from agentloop.contracts.spec import CallableSource, DataSourceConfig, FileSource
from agentloop.data.arrow_csv import read_csv
from agentloop.data.callable_source import call_source
from agentloop.data.locate import locate_files

# Up to here a source is read at once, before Ray is up; above, Ray Data streams its files and
# types are inferred from the first megabytes.
LARGE_BYTES = 256 << 20
HEAD_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Extract:
    """A source that could be read. ``head`` holds all its rows unless ``files`` is set: then it
    holds the first ones, and Ray Data reads the files."""

    source: str
    kind: str
    head: pa.Table
    files: tuple[Path, ...] = ()

    @property
    def from_text(self) -> bool:
        """Whether values came as text without types, so that blanks around them mean nothing."""
        return self.kind == "csv"


def extract_source(
    config: DataSourceConfig, base_dir: Path, large_bytes: int = LARGE_BYTES
) -> Extract:
    """Raises SourceNotFound, EmptySource, SourceUnreadable; SchemaMismatch where the files of a
    folder differ in their columns."""
    source = config.source
    if isinstance(source, CallableSource):
        return Extract(source.target, "callable", _from_callable(source, base_dir))
    paths = locate_files(source, base_dir)
    try:
        large = sum(path.stat().st_size for path in paths) > large_bytes
        head = _read_head(paths[0], source, config) if large else _read_all(paths, source, config)
    except OSError as error:
        raise SourceUnreadable(source.path, error.strerror or _first_line(error)) from None
    _check_table(head, source.path)
    return Extract(source.path, source.kind, head, paths if large else ())


def _from_callable(source: CallableSource, base_dir: Path) -> pa.Table:
    value = call_source(source.target, base_dir)
    try:
        if isinstance(value, pa.Table):
            table = value
        elif type(value).__module__.split(".")[0] == "pandas":
            table = pa.Table.from_pandas(value, preserve_index=False)
        else:
            kind = type(value).__name__
            reason = f"it returned {kind}, not a pandas DataFrame or a pyarrow Table"
            raise SourceUnreadable(source.target, reason)
    except (pa.ArrowException, TypeError, AttributeError) as error:
        raise SourceUnreadable(source.target, _first_line(error)) from None
    table = table.replace_schema_metadata(None)
    _check_table(table, source.target)
    return table


def _read_all(paths: tuple[Path, ...], source: FileSource, config: DataSourceConfig) -> pa.Table:
    read = _reader(source, config)
    tables = [_named_errors(read, path, source) for path in paths]
    tables = [t for t in tables if t.num_rows] or tables[:1]
    first = tables[0].column_names
    for table, path in zip(tables, paths, strict=False):
        if set(table.column_names) != set(first):
            raise SchemaMismatch(source.path, _column_differences(path, table, first))
    try:
        return pa.concat_tables(
            [table.select(first) for table in tables], promote_options="permissive"
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise SchemaMismatch(source.path, (_first_line(error),)) from None


def _column_differences(path: Path, table: pa.Table, first: list[str]) -> tuple[str, ...]:
    absent = [f"{path.name} has no column '{c}'" for c in first if c not in table.column_names]
    added = [f"only {path.name} has a column '{c}'" for c in table.column_names if c not in first]
    return tuple(absent + added)[:10]


def _read_head(path: Path, source: FileSource, config: DataSourceConfig) -> pa.Table:
    if source.kind == "parquet":
        return _named_errors(
            lambda p: pa.Table.from_batches([next(pq.ParquetFile(p).iter_batches(100_000))]),
            path,
            source,
        )
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    whole = head[: head.rfind(b"\n") + 1] or head
    return _named_errors(lambda _: _parse(whole, source, config), path, source)


def _reader(source: FileSource, config: DataSourceConfig) -> Callable[[Path], pa.Table]:
    if source.kind == "parquet":
        return lambda path: pq.ParquetFile(path).read().replace_schema_metadata(None)
    return lambda path: _parse(path.read_bytes(), source, config)


def _parse(data: bytes, source: FileSource, config: DataSourceConfig) -> pa.Table:
    if not data.strip():
        raise EmptySource(source.path)
    if source.kind == "csv":
        return read_csv(data, source.path, config.missing)
    options = pa.json.ReadOptions(block_size=max(len(data) + 1, 1 << 20))
    return pa.json.read_json(pa.BufferReader(data), read_options=options)


def _named_errors(read: Callable[[Path], pa.Table], path: Path, source: FileSource) -> pa.Table:
    """The table, with every way a file can be broken told as SourceUnreadable."""
    try:
        table = read(path)
        table.validate(full=True)
    except StopIteration:
        raise EmptySource(source.path) from None
    except (pa.ArrowException, UnicodeDecodeError, ValueError) as error:
        where = source.path if path.name in source.path else f"{source.path} ({path.name})"
        raise SourceUnreadable(where, _first_line(error)) from None
    return table


def _check_table(table: pa.Table, source: str) -> None:
    if table.num_rows == 0 or table.num_columns == 0:
        raise EmptySource(source)
    names = table.column_names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceUnreadable(source, f"column '{twice[0]}' is there twice")
    for field in table.schema:
        if not field.name.strip():
            position = names.index(field.name) + 1
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


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else repr(error)
