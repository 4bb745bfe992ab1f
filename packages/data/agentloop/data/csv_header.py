"""The header of a CSV file, read without a heavy library: a wrong one is told at once."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from agentloop.contracts.errors import EmptySource, SourceUnreadable
from agentloop.contracts.spec import DataSourceConfig
from agentloop.data.locate import locate_files
from agentloop.data.schema import check_target

SEPARATORS = ",;\t|"
SNIFFED_BYTES = 1 << 16


def check_header(config: DataSourceConfig, base_dir: Path) -> None:
    """Refuse a CSV source whose header lacks the target, or that holds nothing below its header.

    Other kinds of source, and all other mistakes, are told when the source is read. Raises
    SourceNotFound, EmptySource, SourceUnreadable, TargetMissing.
    """
    source = config.source
    if source.kind != "csv":
        return
    paths = locate_files(source, base_dir)
    try:
        with paths[0].open("rb") as file:
            start = file.read(SNIFFED_BYTES)
    except OSError as error:
        raise SourceUnreadable(source.path, error.strerror or str(error)) from None
    if not start.strip() and len(paths) == 1:
        raise EmptySource(source.path)
    whole = len(start) < SNIFFED_BYTES
    if not start.strip() or not (whole or b"\n" in start):
        return  # another file has the header, or it does not fit
    try:
        _, names = sniff_header(start, source.path)
    except ValueError as error:
        raise SourceUnreadable(source.path, str(error)) from None
    check_target(names, config)
    if whole and len(start.strip().splitlines()) == 1 and len(paths) == 1:
        raise EmptySource(source.path)


def sniff_header(data: bytes, source: str) -> tuple[str, tuple[str, ...]]:
    """The separator that the header uses most, outside quotes, and the names of its columns.

    Raises SourceUnreadable for a header that is no UTF-8 text, or that has a column twice or
    without a name; ValueError where it is no CSV.
    """
    start = data[:SNIFFED_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    line = start.splitlines()[0]
    try:
        header = line.decode("utf-8")
    except UnicodeDecodeError:
        raise undecodable(data, source) from None
    if "\0" in header:
        raise SourceUnreadable(source, "it is not UTF-8 text", next_step="save it as UTF-8")
    bare = "".join(header.split('"')[::2])
    separator = max(SEPARATORS, key=bare.count)
    names = _header(start.decode("utf-8", "replace"), separator)
    for position, name in enumerate(names, start=1):
        if not name.strip():
            raise SourceUnreadable(
                source,
                f"column {position} of the header has no name",
                next_step="name it; if it is a row number, list that name under data.drop",
            )
        if names.count(name) > 1:
            raise SourceUnreadable(source, f"the header has '{name}' twice")
    return separator, tuple(names)


def _header(text: str, separator: str) -> list[str]:
    lines = io.StringIO(text, newline=None)  # every style of line end
    try:
        return next(csv.reader(lines, delimiter=separator))
    except (csv.Error, StopIteration) as error:
        raise ValueError(f"the header is not CSV ({error})") from None


def undecodable(data: bytes, source: str) -> SourceUnreadable:
    try:
        data.decode("utf-8")
        line = 1
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    return SourceUnreadable(
        source, f"line {line} is not UTF-8 text", next_step="save the file as UTF-8"
    )
