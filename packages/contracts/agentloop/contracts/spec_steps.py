"""The ``data.steps`` of loop.yaml: what is done to the rows before they are checked and kept.

A step that is fitted (``impute`` with a statistic, ``clip`` with quantiles) is fitted on the
training split only.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from agentloop.contracts.data import ColumnKind
from agentloop.contracts.spec_base import Strict, refusal

Columns = Annotated[tuple[str, ...], Field(min_length=1)]
Plain = str | int | float | bool


class ImputeStep(Strict):
    """Fill nulls with a ``statistic`` of the training split, or with ``value``."""

    kind: Literal["impute"]
    columns: Columns
    statistic: Literal["mean", "median", "most_frequent"] | None = None
    value: Plain | None = None

    @model_validator(mode="after")
    def _one_filling(self) -> ImputeStep:
        if (self.statistic is None) == (self.value is None):
            raise refusal("needs either statistic or value")
        return self


class ClipStep(Strict):
    """Move numbers below ``low`` or above ``high`` to the bound. ``quantiles`` are bounds as
    probabilities, fitted on the training split."""

    kind: Literal["clip"]
    columns: Columns
    low: float | None = None
    high: float | None = None
    quantiles: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _has_bounds_in_order(self) -> ClipStep:
        fixed = self.low is not None or self.high is not None
        if fixed == (self.quantiles is not None):
            raise refusal("needs low and high (or one of them), or quantiles")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise refusal("must not be above high", below=["low"])
        if self.quantiles is not None and not 0 <= self.quantiles[0] < self.quantiles[1] <= 1:
            raise refusal("must be two probabilities that grow", below=["quantiles"])
        return self


class CastStep(Strict):
    """Read columns as another kind. A value that does not fit is a misfit, told with its row; with
    ``on_error: null`` it becomes null."""

    kind: Literal["cast"]
    columns: Columns
    to: ColumnKind
    on_error: Literal["refuse", "null"] = "refuse"


class MapStep(Strict):
    """Replace whole values. What ``values`` does not list is kept, or becomes ``otherwise``."""

    kind: Literal["map"]
    column: str
    values: dict[str, Plain | None] = Field(min_length=1)
    otherwise: Plain | None = None


class ReplaceStep(Strict):
    """Replace what ``pattern`` (a regular expression, RE2) matches in texts by ``by``."""

    kind: Literal["replace"]
    columns: Columns
    pattern: str = Field(min_length=1)
    by: str = ""

    @field_validator("pattern")
    @classmethod
    def _pattern_is_one(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise refusal(f"is no regular expression: {error}") from None
        return pattern


class DeriveStep(Strict):
    """A new column out of others: ``sql`` is a SQL expression over the row's columns."""

    kind: Literal["derive"]
    column: str = Field(min_length=1)
    sql: str = Field(min_length=1)


class DropDuplicatesStep(Strict):
    """Keep the first of rows that are equal in ``columns`` (all columns if none is named)."""

    kind: Literal["drop_duplicates"]
    columns: tuple[str, ...] = ()


StepSpec = Annotated[
    ImputeStep | ClipStep | CastStep | MapStep | ReplaceStep | DeriveStep | DropDuplicatesStep,
    Field(discriminator="kind"),
]
