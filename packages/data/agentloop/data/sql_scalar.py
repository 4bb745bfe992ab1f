"""Is a text one scalar SQL expression over a row's columns? Decided by parsing alone."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokens import TokenType

from agentloop.contracts.errors import QueryRefused, SchemaMismatch

MAX_CHARACTERS = 10_000
MAX_DEPTH = 100

_REFUSED: tuple[tuple[type[exp.Expr], str], ...] = (
    (exp.Query, "a query inside of it"),
    (exp.Table, "a table"),
    (exp.Window, "a window function"),
    (exp.AggFunc, "an aggregate"),
    (exp.Filter, "an aggregate"),
    (exp.UDTF, "a function that gives rows"),
    (exp.Star, "*"),
    (exp.Columns, "*"),
    (exp.PositionalColumn, "a column by its number"),
    (exp.Placeholder, "a parameter"),
    (exp.Parameter, "a parameter"),
    (exp.SessionParameter, "a parameter"),
    (exp.Lambda, "a lambda"),
    (exp.Comprehension, "a comprehension"),
    (exp.Alias, "a name of its own (AS)"),
    (exp.Dot, "a dot"),
    (exp.DML, "a statement"),
    (exp.DDL, "a statement"),
    (exp.Command, "a statement"),
)
# The same row must give the same value tomorrow: no clock, chance, session, catalogue or sleep.
_UNSTEADY = re.compile(
    r"(current_|get_current_|pg_|has_|inet_|txid_|list_sem$|map_type_id|map_to_pg|getvariable$"
    r"|session_user$|user$|now$|today$|ago$|age$|random$|rand$|setseed$|uuid|gen_random_uuid$"
    r"|nextval$|currval$|setval$|transaction_timestamp$|localtime|sleep|write_log$|getenv$"
    r"|in_search_path$|stats$|vector_type$|query$|query_table$|read_|glob$|error$).*",
    re.IGNORECASE,
)
# Literals and quoted names are data; all other words of the rewritten text are SQL's own.
_DATA = {TokenType.STRING, TokenType.IDENTIFIER, TokenType.NUMBER}


@dataclass(frozen=True, slots=True)
class Scalar:
    """An expression in DuckDB's SQL, over columns that are named by ``places``: each of
    ``columns``, in the order of their first use, has a plain name of its own there."""

    sql: str
    columns: tuple[str, ...]

    @property
    def places(self) -> tuple[str, ...]:
        return tuple(f"_{index}" for index in range(len(self.columns)))

    def place(self, column: str) -> str:
        return f"_{self.columns.index(column)}"


def parse_scalar(expression: str, names: Sequence[str], where: str) -> Scalar:
    """The expression over columns out of ``names``, which are found without regard to case where
    that leaves no doubt, as SQL does.

    Raises QueryRefused for what is not one scalar expression, SchemaMismatch for a column that is
    not there, naming the nearest.
    """
    root = _parse(expression, where)
    _refuse_nodes(root, where)
    columns: list[str] = []

    def place(node: exp.Expr) -> exp.Expr:
        if not isinstance(node, exp.Column):
            return node
        if node.table:
            raise _refused(where, "a dot")
        name = _find(node.name, names, where)
        if name not in columns:
            columns.append(name)
        return exp.Column(this=exp.to_identifier(f"_{columns.index(name)}", quoted=True))

    sql = root.transform(place).sql(dialect="duckdb", comments=False)
    _refuse_words(sql, where)
    return Scalar(sql, tuple(columns))


def _parse(expression: str, where: str) -> exp.Expr:
    if len(expression) > MAX_CHARACTERS:
        raise _refused(where, f"more than {MAX_CHARACTERS} characters")
    try:
        parsed = sqlglot.parse(expression, dialect="duckdb")
    except SqlglotError as error:
        reason = re.sub(r"\x1b\[\d+m", "", str(error)).splitlines()[0]
        raise _not_one(where, f"it cannot be parsed: {reason.rstrip('.')}") from None
    except RecursionError:
        raise _refused(where, "too many parentheses") from None
    if len(parsed) != 1 or parsed[0] is None:
        raise _not_one(where, f"it has {sum(p is not None for p in parsed)} statements, not one")
    root = parsed[0]
    if _depth(root) > MAX_DEPTH:
        raise _refused(where, "too many parentheses")
    return root


def _refuse_nodes(root: exp.Expr, where: str) -> None:
    for node in root.walk():
        for kind, words in _REFUSED:
            if isinstance(node, kind):
                raise _refused(where, words)
    if not isinstance(root, exp.Condition):
        raise _refused(where, "a statement")


def _refuse_words(sql: str, where: str) -> None:
    for token in sqlglot.tokenize(sql, read="duckdb"):
        if token.token_type not in _DATA and _UNSTEADY.fullmatch(token.text):
            raise _refused(where, f"'{token.text.lower()}', which depends on more than the row")


def _find(name: str, names: Sequence[str], where: str) -> str:
    if name in names:
        return name
    alike = [known for known in names if known.lower() == name.lower()]
    if len(alike) == 1:
        return alike[0]
    near = alike[:1] or difflib.get_close_matches(name, list(names), n=1)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    reason = f"{where}: column '{name}' is not in the data{hint}"
    raise SchemaMismatch("the rows", (reason,), next_step=f"edit {where} in loop.yaml")


def _depth(root: exp.Expr) -> int:
    deepest, waiting = 0, [(root, 1)]
    while waiting:
        node, depth = waiting.pop()
        deepest = max(deepest, depth)
        waiting += [(child, depth + 1) for child in node.iter_expressions()]
    return deepest


def _refused(where: str, holds: str) -> QueryRefused:
    return _not_one(where, f"it holds {holds}")


def _not_one(where: str, reason: str) -> QueryRefused:
    step = f"write {where} as one SQL expression over the row's columns"
    return QueryRefused(where, reason, next_step=step)
