"""What a source is called in lineage, as https://openlineage.io/docs/spec/naming wants it.

No name holds a password: of a database's URL only host, port and database are taken.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from agentloop.contracts.spec_data import CallableSource, IdxSource, SourceSpec, SqlSource
from agentloop.data.sql_url import redacted

POSTGRES_PORT = 5432
_FORMATS = {"csv": "csv", "jsonl": "json", "parquet": "parquet", "idx": "idx"}
Name = tuple[str, str]


def source_names(
    source: SourceSpec, base_dir: Path, environment: Mapping[str, str]
) -> tuple[Name, ...]:
    """Namespace and name of everything that the source reads: one file, folder or table, or each
    table of a query."""
    if isinstance(source, CallableSource):
        return (("python", source.target.replace(":", ".")),)
    if isinstance(source, SqlSource):
        try:
            return _tables(source, base_dir, environment)
        except ValueError:  # a URL that is none; reading it fails with a better word for it
            return (("unknown", source.table or "query"),)
    paths = (source.path, source.labels) if isinstance(source, IdxSource) else (source.path,)
    return tuple(_file(path, base_dir) for path in paths)


def source_uri(name: Name) -> str:
    """Namespace and name as one URI."""
    namespace, path = name
    if namespace in ("file", "python"):
        return f"{namespace}:{path}"
    return f"{namespace}/{path.removeprefix('/')}"


def source_format(source: SourceSpec) -> str:
    """The format of the source's files; empty where it has none."""
    return _FORMATS.get(source.kind, "")


def _file(path: str, base_dir: Path) -> Name:
    if path.startswith("s3://"):
        parts = urlsplit(path)
        bucket = parts.netloc.rpartition("@")[2]
        return f"s3://{bucket}", parts.path.removeprefix("/") or "/"
    return "file", os.path.abspath(base_dir / path)


def _tables(source: SqlSource, base_dir: Path, environment: Mapping[str, str]) -> tuple[Name, ...]:
    url = source.url or environment.get(source.url_env or "", "").strip()
    if not url:
        return (("environment", f"${source.url_env}"),)
    scheme = url.partition("://")[0].lower()
    if scheme in ("sqlite", "duckdb"):
        file = os.path.abspath(base_dir / unquote(urlsplit(url).path[1:]))
        namespace, prefix, schema = f"{scheme}://{file}", "", "main"
    else:
        namespace, database = _server(url)
        prefix, schema = f"{database}.", "public"
    names = (source.table,) if source.table else _query_tables(source.query or "", scheme)
    return tuple(
        (namespace, prefix + (name if "." in name else f"{schema}.{name}")) for name in names
    )


def _server(url: str) -> Name:
    """``postgres://host:port`` and the database. What libpq takes from a URL's query is heeded."""
    parts = urlsplit(redacted(url))
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    # Of several servers the first one names them all.
    place = parts.netloc.rpartition("@")[2].split(",")[0]
    host, _, port = place.rpartition(":") if place[-1:] != "]" else (place, "", "")
    if not host and not place.startswith(":"):
        host, port = place, ""
    host = unquote(host or query.get("host", "") or "localhost").lower()
    port = port or query.get("port", "")
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    database = unquote(parts.path.strip("/")) or query.get("dbname", "") or unquote(user)
    return f"postgres://{host}:{port if port.isdigit() else POSTGRES_PORT}", database or "postgres"


def _query_tables(query: str, scheme: str) -> tuple[str, ...]:
    """The tables that a query reads; ``query`` where that cannot be told."""
    from agentloop.data.sql_tables import tables_of

    return tables_of(query, "postgres" if scheme.startswith("postgres") else scheme) or ("query",)
