"""The ``data`` section of loop.yaml: where rows come from, what they must be, how they split."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from agentloop.contracts.data import ColumnKind, Severity
from agentloop.contracts.spec_base import Strict, matching, refusal, shown
from agentloop.contracts.spec_steps import StepSpec

CALLABLE_PATTERN = r"[A-Za-z_][\w.]*:[A-Za-z_]\w*"

Callable = Annotated[str, AfterValidator(matching(CALLABLE_PATTERN, "must be module:function"))]
Scalar = str | int | float | bool | None
CheckName = Literal[
    "torn",
    "kind",
    "nulls",
    "finite",
    "minimum",
    "maximum",
    "categories",
    "pattern",
    "unique",
    "rule",
    "anomaly",
    "volume",
    "null_rate",
    "distinct",
    "distribution",
    "freshness",
]


class Windowed(Strict):
    """``time_column`` and ``since`` take an increment: rows whose time is later than ``since``.

    ``since`` is an ISO 8601 date or time (UTC where it names no zone), or ``last``: the latest time
    in the dataset's last accepted version.
    """

    time_column: str | None = Field(default=None, min_length=1)
    since: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _since_needs_a_time(self) -> Windowed:
        if self.since is not None and self.time_column is None:
            raise refusal("needs time_column: the column that holds a row's time", below=["since"])
        return self


class FileSource(Windowed):
    """``path`` is a file, a folder or a glob, relative to loop.yaml; or ``s3://bucket/…``, on
    ``endpoint_url`` where the server is not Amazon's. Folders named ``key=value`` become columns.

    Credentials come from where boto3 and pyarrow look: the environment, profiles, instance roles.
    """

    kind: Literal["csv", "jsonl", "parquet", "idx"]
    path: str = Field(min_length=1)
    endpoint_url: str | None = None
    region: str | None = None


class CsvSource(FileSource):
    """``auto`` is found out from the file's beginning. Without a ``header``, ``names`` name the
    columns."""

    kind: Literal["csv"]
    separator: str = Field(default="auto", min_length=1, max_length=4)
    encoding: str = "auto"
    decimal: Literal["auto", ".", ","] = "auto"
    header: bool = True
    names: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _columns_have_names(self) -> CsvSource:
        if not self.header and not self.names:
            raise refusal("must list the columns, for the file has no header", below=["names"])
        if self.separator != "auto" and len(self.separator) != 1:
            raise refusal("must be one character, or auto", below=["separator"])
        return self


class JsonlSource(FileSource):
    kind: Literal["jsonl"]


class ParquetSource(FileSource):
    kind: Literal["parquet"]


class IdxSource(FileSource):
    """The format of MNIST: ``path`` holds the images (or vectors), ``labels`` one label a row.
    Columns are ``pixel_0`` … and ``label``."""

    kind: Literal["idx"]
    labels: str = Field(min_length=1)


class SqlSource(Windowed):
    """A ``table`` (with ``columns``), or a ``query`` that is one SELECT; never both.

    ``url`` is ``postgresql://…``, ``sqlite:///file`` or ``duckdb:///file``; ``url_env`` names an
    environment variable that holds it, so that no password is in loop.yaml. ``parameters`` are
    bound to the query's ``:name`` places, never pasted into it.
    """

    kind: Literal["sql"]
    url: str | None = None
    url_env: str | None = None
    table: str | None = None
    columns: tuple[str, ...] = ()
    query: str | None = None
    parameters: dict[str, Scalar] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_where_and_what(self) -> SqlSource:
        if (self.url is None) == (self.url_env is None):
            raise refusal("needs either url or url_env")
        if (self.table is None) == (self.query is None):
            raise refusal("needs either table or query")
        if self.columns and self.query is not None:
            raise refusal("goes with table: a query names its own columns", below=["columns"])
        return self


class CallableSource(Windowed):
    """``target`` is ``module:function``; modules beside loop.yaml are found. The function returns a
    pandas DataFrame, a pyarrow Table, or an iterator of either; one that takes ``since`` is given
    it."""

    kind: Literal["callable"]
    target: Callable


SourceSpec = Annotated[
    CsvSource | JsonlSource | ParquetSource | IdxSource | SqlSource | CallableSource,
    Field(discriminator="kind"),
]


class ColumnSpec(Strict):
    """A declared column. What is not declared is inferred and then frozen.

    ``pattern`` is a regular expression (RE2) that the whole text must match.
    """

    kind: ColumnKind | None = None
    nullable: bool = True
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] | None = None
    unique: bool = False
    pattern: str | None = None

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> ColumnSpec:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise refusal("must not be above maximum", below=["minimum"])
        return self

    @field_validator("pattern")
    @classmethod
    def _pattern_is_one(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                re.compile(pattern)
            except re.error as error:
                raise refusal(f"is no regular expression: {error}") from None
        return pattern


class RuleSpec(Strict):
    """A rule over several columns: ``check`` is a SQL expression that holds for a good row. Like a
    CHECK constraint, it also passes where it is null."""

    check: str = Field(min_length=1)
    name: str | None = None
    on_failure: Severity | None = None


class ChecksSpec(Strict):
    """What a batch must hold. ``on_failure`` says what a failing row does: ``reject`` the batch,
    ``quarantine`` the row, or ``warn``; ``policy`` says so for single checks.

    A batch is held against the last ``history`` accepted ones. ``max_age_hours`` bounds how old the
    newest time in ``source.time_column`` may be.
    """

    min_rows: int = Field(default=50, ge=1)
    max_null_rate: float = Field(default=0.5, ge=0, le=1)
    max_anomaly_rate: float = Field(default=0.2, ge=0, le=1)
    max_age_hours: float | None = Field(default=None, gt=0)
    history: int = Field(default=5, ge=1, le=100)
    on_failure: Severity = "reject"
    policy: dict[CheckName, Severity] = Field(default_factory=dict)
    rules: tuple[RuleSpec, ...] = ()


class SplitSpec(Strict):
    """Which rows are the test split, so that a row never moves from one side to the other.

    - ``row``: a hash of the row's position and ``seed``; the default.
    - ``hash``: sha256 of ``salt:key``, where the key is ``column``'s text, or the row's 0-based
      position without one; its first 32 bits modulo 100 are below ``100 * test``.
    - ``group``: like ``hash``, and ``column`` must be named: all rows of a group are on one side.
    - ``time``: rows whose ``column`` is ``at`` or later; without ``at``, the latest ``test`` share.
    - ``order``: the last ``test`` share in file order.
    - ``value``: rows whose ``column`` is one of ``values``.
    """

    test: float = Field(default=0.25, gt=0, lt=1)
    seed: int = 0
    by: Literal["row", "hash", "group", "time", "order", "value"] = "row"
    column: str | None = None
    salt: str = ""
    at: str | None = None
    values: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _has_what_it_splits_by(self) -> SplitSpec:
        if self.by in ("group", "time", "value") and self.column is None:
            raise refusal(f"must be named, to split by {self.by}", below=["column"])
        if self.by == "value" and not self.values:
            raise refusal("must list the values that are the test split", below=["values"])
        for name, only in (("at", "time"), ("values", "value")):
            if getattr(self, name) and self.by != only:
                raise refusal(f"goes with by: {only}, not {shown(self.by)}", below=[name])
        return self


class RemoteSpec(Strict):
    """DVC's remote: ``url`` is ``s3://bucket/prefix``, or a folder. Without it versions are pushed
    to a folder of the state folder."""

    url: str = Field(min_length=1)
    endpoint_url: str | None = None
    region: str | None = None


class DataSourceConfig(Strict):
    """The ``data`` section: where rows come from and what they must be. ``steps`` are applied in
    order to what was read, before the checks."""

    source: SourceSpec
    target: str = Field(min_length=1)
    columns: dict[str, ColumnSpec] = Field(default_factory=dict)
    drop: tuple[str, ...] = ()
    missing: tuple[str, ...] = ("", "NA", "NaN", "null", "?")
    steps: tuple[StepSpec, ...] = ()
    checks: ChecksSpec = ChecksSpec()
    split: SplitSpec = SplitSpec()
    remote: RemoteSpec | None = None
