"""CSV into a pyarrow Table: separator and encoding found out, ragged rows told apart."""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pyarrow.csv

from agentloop.contracts.errors import SourceUnreadable

SEPARATORS = ",;\t|"
SNIFFED_BYTES = 1 << 16
MAX_TOLD_ROWS = 3

Ragged = list[tuple[int | None, int, int]]


def read_csv(data: bytes, source: str, missing: tuple[str, ...]) -> pa.Table:
    """A table of the types that the values suggest. Raises SourceUnreadable, ArrowInvalid."""
    separator = sniff_separator(data, source)
    ragged: Ragged = []
    table = _parse(data, separator, missing, ragged, threads=True)
    if ragged:
        ragged.clear()
        _parse(data, separator, missing, ragged, threads=False)  # only so are rows numbered
        raise _ragged_error(ragged, source)
    if any(pa.types.is_binary(field.type) for field in table.schema):
        raise _undecodable(data, source)
    return table


def sniff_separator(data: bytes, source: str) -> str:
    """The separator that the header uses most, outside quotes. Raises SourceUnreadable for a
    header that is no UTF-8 text, or that has a column twice or without a name."""
    start = data[:SNIFFED_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    line = start.splitlines()[0]
    try:
        header = line.decode("utf-8")
    except UnicodeDecodeError:
        raise _undecodable(data, source) from None
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
    return separator


def _header(text: str, separator: str) -> list[str]:
    lines = io.StringIO(text, newline=None)  # every style of line end
    try:
        return next(csv.reader(lines, delimiter=separator))
    except (csv.Error, StopIteration) as error:
        raise ValueError(f"the header is not CSV ({error})") from None


def _parse(
    data: bytes, separator: str, missing: tuple[str, ...], ragged: Ragged, threads: bool
) -> pa.Table:
    def skip(row: pa.csv.InvalidRow) -> str:
        ragged.append((row.number, row.actual_columns, row.expected_columns))
        return "skip"

    padded = [f" {token}" for token in missing]
    return pa.csv.read_csv(
        pa.BufferReader(data),
        # One block: types are inferred from the first block alone.
        read_options=pa.csv.ReadOptions(
            use_threads=threads, block_size=max(len(data) + 1, 1 << 20)
        ),
        parse_options=pa.csv.ParseOptions(
            delimiter=separator, newlines_in_values=True, invalid_row_handler=skip
        ),
        convert_options=pa.csv.ConvertOptions(
            null_values=[*missing, *padded],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )


def _ragged_error(ragged: Ragged, source: str) -> SourceUnreadable:
    told = [
        f"data row {number - 1 if number else '?'} has {actual} values and the header {expected}"
        for number, actual, expected in ragged[:MAX_TOLD_ROWS]
    ]
    more = f"; {len(ragged) - len(told)} more such rows" if len(ragged) > len(told) else ""
    return SourceUnreadable(
        source, "; ".join(told) + more, next_step="mend those rows, or quote their separators"
    )


def _undecodable(data: bytes, source: str) -> SourceUnreadable:
    try:
        data.decode("utf-8")
        line = 1
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    return SourceUnreadable(
        source, f"line {line} is not UTF-8 text", next_step="save the file as UTF-8"
    )
