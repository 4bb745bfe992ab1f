"""CSV into a pyarrow Table: separator and encoding found out, ragged rows told apart."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.csv

from agentloop.contracts.errors import SourceUnreadable
from agentloop.data.csv_header import sniff_header, undecodable

MAX_TOLD_ROWS = 3

Ragged = list[tuple[int | None, int, int]]


def read_csv(data: bytes, source: str, missing: tuple[str, ...]) -> pa.Table:
    """A table of the types that the values suggest. Raises SourceUnreadable, ArrowInvalid."""
    separator, _ = sniff_header(data, source)
    ragged: Ragged = []
    table = _parse(data, separator, missing, ragged, threads=True)
    if ragged:
        ragged.clear()
        _parse(data, separator, missing, ragged, threads=False)  # only so are rows numbered
        raise _ragged_error(ragged, source)
    if any(pa.types.is_binary(field.type) for field in table.schema):
        raise undecodable(data, source)
    return table


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
