"""What a request holds once its body was read, whichever protocol it came in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.errors import RequestRejected

MAX_ROWS = 100_000

Columns = Mapping[str, npt.NDArray[Any]]


class MatrixColumns(Columns):
    """Numeric columns as views of one float64 matrix (rows, columns); NaN stands for null.

    A model of numbers alone reads the matrix, and no column is ever made.
    """

    __slots__ = ("matrix", "names")

    def __init__(self, names: tuple[str, ...], matrix: npt.NDArray[np.float64]) -> None:
        self.names = names
        self.matrix = matrix

    def __getitem__(self, name: str) -> npt.NDArray[np.float64]:
        try:
            return self.matrix[:, self.names.index(name)]
        except ValueError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that the client wants, as raw bytes or in the JSON."""

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """Raw columns by name, each (rows,): float64 with NaN for null, or object with None.

    ``outputs`` None stands for all of them, as raw bytes if ``binary``.
    """

    columns: Columns
    rows: int
    id: str | None = None
    outputs: tuple[RequestedOutput, ...] | None = None
    binary: bool = False


def check_rows(rows: int) -> int:
    """``rows`` if a request may hold that many. Raises RequestRejected."""
    if rows < 1:
        raise RequestRejected(400, "the request holds no rows")
    if rows > MAX_ROWS:
        raise RequestRejected(413, f"the request holds more than {MAX_ROWS} rows")
    return rows


def join_columns(parts: list[Columns]) -> Columns:
    """The rows of all ``parts``, which have the same columns, below one another."""
    if len(parts) == 1:
        return parts[0]
    matrices = [part.matrix for part in parts if isinstance(part, MatrixColumns)]
    if len(matrices) == len(parts) and isinstance(parts[0], MatrixColumns):
        return MatrixColumns(parts[0].names, np.concatenate(matrices))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
