"""Read a source: all its rows where they are few, else its first ones and the parts of it."""

from __future__ import annotations

from pathlib import Path

from agentloop.contracts.errors import SourceUnreadable
from agentloop.contracts.spec import CallableSource, DataSourceConfig
from agentloop.contracts.spec_data import CsvSource, IdxSource, JsonlSource, SqlSource
from agentloop.data.arrow_callable import extract_callable
from agentloop.data.arrow_csv_source import extract_csv
from agentloop.data.arrow_extract import Extract
from agentloop.data.arrow_idx import extract_idx
from agentloop.data.arrow_jsonl_source import extract_jsonl
from agentloop.data.arrow_parquet import extract_parquet
from agentloop.data.arrow_table import first_line
from agentloop.data.locate import locate_files

__all__ = ["LARGE_BYTES", "Extract", "extract_source"]

# Up to here a source is read at once, before Ray is up; above, Ray's workers stream its parts and
# types are inferred from its beginning.
LARGE_BYTES = 32 << 20


def extract_source(
    config: DataSourceConfig,
    base_dir: Path,
    large_bytes: int = LARGE_BYTES,
    since: str | None = None,
) -> Extract:
    """``since`` (ISO 8601) is passed to SQL and to functions that take it; the rows of files are
    all read.

    Raises SourceNotFound, EmptySource, SourceUnreadable; SchemaMismatch where files differ in their
    columns; QueryRefused, RemoteForbidden.
    """
    source = config.source
    if isinstance(source, SqlSource):
        from agentloop.data.sql_extract import extract_sql

        return extract_sql(source, base_dir, since)
    if isinstance(source, CallableSource):
        return extract_callable(source, base_dir, since, large_bytes)
    files = locate_files(source, base_dir)
    try:
        if isinstance(source, CsvSource):
            return extract_csv(files, source, config, large_bytes)
        if isinstance(source, JsonlSource):
            return extract_jsonl(files, source, config, large_bytes)
        if isinstance(source, IdxSource):
            labels = locate_files(source.model_copy(update={"path": source.labels}), base_dir)
            return extract_idx(files, labels, source.path, large_bytes)
        return extract_parquet(files, source.path, large_bytes)
    except OSError as error:
        raise SourceUnreadable(source.path, error.strerror or first_line(error)) from None
