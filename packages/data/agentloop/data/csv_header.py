"""The header of a CSV file, read without a heavy library: a wrong one is told at once."""

from __future__ import annotations

from pathlib import Path

from agentloop.contracts.errors import EmptySource, SourceUnreadable
from agentloop.contracts.spec import DataSourceConfig
from agentloop.contracts.spec_data import CsvSource
from agentloop.data.csv_dialect import find_dialect
from agentloop.data.gzip_stream import open_stream, read_up_to
from agentloop.data.locate import folder_keys, is_remote, locate_files
from agentloop.data.schema import check_target

SNIFFED_BYTES = 1 << 16


def check_header(config: DataSourceConfig, base_dir: Path) -> None:
    """Refuse a CSV source whose header lacks the target, or that holds nothing below its header.

    Other kinds of source, remote ones, and all other mistakes are told when the source is read.
    Raises SourceNotFound, EmptySource, SourceUnreadable, TargetMissing.
    """
    source = config.source
    if not isinstance(source, CsvSource) or is_remote(source.path):
        return
    files = locate_files(source, base_dir)
    with open_stream(files[0]) as stream:
        start = read_up_to(stream, SNIFFED_BYTES)
    if not start.strip() and len(files) == 1:
        raise EmptySource(source.path)
    whole = len(start) < SNIFFED_BYTES
    if not start.strip() or not (whole or b"\n" in start or b"\r" in start):
        return  # another file has the header, or it does not fit
    try:
        dialect = find_dialect(start, whole, source, source.path)
    except ValueError as error:
        raise SourceUnreadable(source.path, str(error)) from None
    check_target((*dialect.names, *folder_keys(files[0])), config)
    rows = len(start.strip().splitlines())
    if whole and source.header and rows == 1 and len(files) == 1:
        raise EmptySource(source.path)
