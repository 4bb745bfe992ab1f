"""Whether a query is one plain SELECT. The read-only session is the second line of defence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from agentloop.contracts.errors import QueryRefused
from agentloop.contracts.spec_data import Scalar
from agentloop.data.sql_text import SqlText, cut

MAX_CHARACTERS = 100_000

_ROOTS = (exp.Select, exp.SetOperation, exp.Subquery)
_WRITES = (exp.DML, exp.DDL, exp.Into, exp.Lock, exp.Command, exp.Copy, exp.Pragma, exp.Attach)
_BEGINS = re.compile(r"[\s(]*(select|with)\b", re.I)
_FILE_LIKE = re.compile(
    r"[/\\:]|\.(csv|tsv|json|jsonl|ndjson|parquet|gz|zst|db|duckdb|xlsx)$", re.I
)
_COMMENT = re.compile(r"\A(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/)+", re.S)

# Functions that read files, reach out, run SQL given as text, change the session or the server.
_HARMLESS = {"pg_typeof", "pg_column_size", "pg_size_pretty"}
_REFUSED = {
    "postgres": re.compile(
        r"(pg|lo|dblink|postgres_fdw|file_fdw|http|aws_s3|plpy)_\w*|dblink|set_config|setval|nextval"
        r"|(query|cursor|table|schema|database)_to_xml\w*|ts_stat|ts_rewrite|crosstab\w*"
        r"|connectby|normal_rand|copy_\w*|http|currval|lastval|txid_current|inet_server_\w+",
        re.I,
    ),
    "duckdb": re.compile(
        r"read_\w+|\w+_scan\w*|scan_\w+|sniff_\w+|parquet_\w+|glob|query|query_table|\w+_query"
        r"|\w+_execute|\w+_attach|getenv|getvariable|duckdb_\w+|which_secret|pragma_\w+|st_read\w*"
        r"|load_\w+|nextval|currval|current_setting|write_\w+|force_checkpoint|checkpoint"
        r"|http_\w+|seq_scan|arrow_\w+|pandas_\w+|python_\w+|json_execute_serialized_sql|\w+_metadata",
        re.I,
    ),
    "sqlite": re.compile(
        r"load_extension|readfile|writefile|edit|fts\d?\w*_tokenizer|pragma_\w+|fsdir|lsdir"
        r"|zipfile\w*|sqlite_\w+|lsmode|shell_\w+|eval",
        re.I,
    ),
}


def checked_query(
    query: str, dialect: str, parameters: Mapping[str, Scalar], shown: str
) -> SqlText:
    """``query`` cut at its places. ``dialect`` is postgres, sqlite or duckdb.

    Raises QueryRefused unless it is exactly one SELECT (or WITH … SELECT) that writes nothing,
    locks nothing, calls no function that reaches beyond the database, and whose places are just
    ``parameters``.
    """
    if len(query) > MAX_CHARACTERS:
        raise QueryRefused(shown, f"it is longer than {MAX_CHARACTERS:,} characters")
    text = cut(query, dialect)
    if text.problem:
        raise QueryRefused(shown, text.problem)
    # A place may stand where a value may, so NULL reads the same. What is between the places is
    # the very text that is sent, not one that the parser printed.
    reason = _reason(text.joined(lambda _: " NULL "), dialect)
    if reason:
        raise QueryRefused(shown, reason)
    check_places(text.places, parameters, shown)
    return text


def check_places(places: Iterable[str], parameters: Mapping[str, Scalar], shown: str) -> None:
    """Raises QueryRefused where a place has no value, or a value no place."""
    wanted = set(places)
    for name in sorted(wanted ^ set(parameters)):
        if name in wanted:
            reason, step = f"it names :{name}, which has no value", "add it to"
        else:
            reason, step = f"it has no place :{name}", "write the place, or take the value out of"
        raise QueryRefused(shown, reason, next_step=f"{step} data.source.parameters")


def _reason(text: str, dialect: str) -> str | None:
    if not _BEGINS.match(_COMMENT.sub("", text)):
        return "it does not begin with SELECT or WITH"
    try:
        trees = [t for t in sqlglot.parse(text, dialect=dialect) if t is not None]
    except SqlglotError as error:
        return f"it cannot be read as SQL ({_first_line(error)})"
    except RecursionError:
        return "it is nested too deeply"
    if len(trees) != 1:
        return "there is more than one statement"
    if not isinstance(trees[0], _ROOTS):
        return f"it is {trees[0].key.upper()}, not SELECT"
    found = (_node_reason(node, dialect) for node in trees[0].walk())
    return next((reason for reason in found if reason), None)


def _node_reason(node: exp.Expression, dialect: str) -> str | None:
    if isinstance(node, _WRITES):
        name = "FOR UPDATE or SHARE" if isinstance(node, exp.Lock) else node.key.upper()
        return f"it holds {name}"
    if isinstance(node, exp.Table):
        if dialect == "duckdb" and _FILE_LIKE.search(node.name):
            return f"it reads the file '{node.name[:80]}'"
        # SQLite calls these without parentheses too.
        if dialect == "sqlite" and node.name.lower().startswith("pragma_"):
            return f"it calls {node.name.lower()}"
    if isinstance(node, exp.Func):
        names = [node.name] if isinstance(node, exp.Anonymous) else node.sql_names()
        for name in (n.lower() for n in names):
            if name not in _HARMLESS and _REFUSED[dialect].fullmatch(name):
                return f"it calls {name}(), which may reach beyond the rows of the database"
    return None


def _first_line(error: BaseException) -> str:
    plain = re.sub(r"\x1b\[\d*m", "", str(error)).strip() or type(error).__name__
    return plain.splitlines()[0].rstrip(". ")[:200]
