"""What a real PostgreSQL is not asked for, and how a server that is not there is told."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from agentloop.contracts import QueryRefused, RemoteForbidden, SourceNotFound, SourceUnreadable
from agentloop.contracts.spec_data import SqlSource
from agentloop.data.sql_extract import extract_sql

HERE = Path("/nowhere")


def test_a_select_that_writes_through_a_function_is_refused(server: Any) -> None:
    with pytest.raises(QueryRefused, match="read-only transaction"):
        server.read(query="SELECT write_it() AS a")
    assert server.read(table="pairs").head.num_rows == 2


def test_the_session_itself_only_reads(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentloop.data.sql_guard._reason", lambda *_: None)
    for query in ("DELETE FROM pairs RETURNING a", "SELECT nextval('s') FROM pairs",
                  "WITH d AS (DELETE FROM pairs RETURNING a) SELECT a FROM d",
                  "SELECT * INTO copy FROM pairs", "SELECT a FROM pairs FOR UPDATE",
                  "SELECT set_config('transaction_read_only', 'off', false) AS a",
                  "COPY pairs TO '/tmp/x'", "SET TRANSACTION READ WRITE"):  # fmt: skip
        with pytest.raises((QueryRefused, SourceUnreadable, SourceNotFound)):
            server.read(query=query)
    assert server.read(table="pairs").head.num_rows == 2


def test_a_user_without_rights_is_told_so(server: Any) -> None:
    with pytest.raises(SourceUnreadable, match="permission denied"):
        server.read(url=server.url("reader", "reader"), query="SELECT * FROM loans")


@pytest.mark.parametrize("user", ["loop", "nobody"])
def test_a_wrong_password_is_told_without_it(server: Any, user: str) -> None:
    with pytest.raises(SourceUnreadable, match="password authentication failed") as caught:
        server.read(url=server.url(user, "hunter2!"), table="loans")
    assert "hunter2" not in str(caught.value.as_dict())
    assert f"{user}:***@{server.address}" in str(caught.value)


@pytest.mark.parametrize(
    "bad",
    [
        "postgresql://u:hunter2@127.0.0.1:1/d",
        "postgresql://u:hunter2@no.such.host.invalid/d",
        "postgresql://u:hun@ter2/x@127.0.0.1:1/d",
        "postgresql://u:hunter2@127.0.0.1:port/d",
        "postgresql://u:hunter2/x@127.0.0.1:1/d",
        "postgresql://u:hunter2?x@127.0.0.1:1/d",
        "postgresql://u:hunter2#x@127.0.0.1:1/d",
        "postgresql://u:hunter2%@127.0.0.1:1/d",
        "postgresql://u@127.0.0.1:1/d?password=hunter2",
        "postgresql://u:hunter2@127.0.0.1:1/d?no_such=1",
        "mysql://u:hunter2@127.0.0.1/d",
        "postgresql:u:hunter2@127.0.0.1/d",
        "host=127.0.0.1 password=hunter2",
    ],
)
def test_a_server_that_is_not_there_is_told_without_its_password(bad: str) -> None:
    with pytest.raises(SourceUnreadable) as caught:
        extract_sql(SqlSource(kind="sql", url=bad, table="t"), HERE)
    assert "unter2" not in str(caught.value.as_dict())
    assert "ter2" not in str(caught.value.as_dict())


def test_the_url_may_come_from_the_environment(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = SqlSource(kind="sql", url_env="LOANS_URL", table="loans")
    with pytest.raises(SourceUnreadable, match="LOANS_URL"):
        extract_sql(asked, HERE)
    monkeypatch.setenv("LOANS_URL", server.url())
    assert extract_sql(asked, HERE).head.num_rows == 3


@pytest.mark.parametrize(("how", "told"), [("cancel", "cancelled"), ("terminate", "went away")])
def test_a_query_that_is_stopped_in_mid_stream_is_told(server: Any, how: str, told: str) -> None:
    extract = server.read(query="SELECT n FROM generate_series(1, 3000000) AS n")
    chunks = extract.parts[0].chunks()
    next(chunks)
    stopped = (
        f"SELECT pg_{how}_backend(pid) FROM pg_stat_activity WHERE application_name = 'agentloop'"
    )
    slow = "SELECT count(*) AS n FROM generate_series(1, 100000) a, generate_series(1, 100000) b"
    with server.connect() as connection:
        if how == "terminate":
            connection.execute(stopped)
            with pytest.raises(SourceUnreadable, match=told):
                list(chunks)
            return
        chunks.close()  # type: ignore[attr-defined]
        timer = threading.Timer(1.0, connection.execute, [stopped])
        timer.start()
        with pytest.raises(SourceUnreadable, match=told):
            server.read(query=slow)
        timer.join()


@pytest.mark.parametrize(
    ("listed", "host", "allowed"),
    [
        ("127.0.0.0/8", "127.0.0.1", True),
        ("localhost, 127.0.0.1, ::1", "localhost", True),
        ("localhost", "localhost", False),
        ("db.example.com", "127.0.0.1", False),
        ("db.example.com", "2130706433", False),
        ("", "127.0.0.1", False),
    ],
)
def test_the_operators_list_is_kept(
    server: Any, monkeypatch: pytest.MonkeyPatch, listed: str, host: str, allowed: bool
) -> None:
    monkeypatch.setenv("AGENTLOOP_REMOTE_SOURCES", listed)
    asked = server.source(url=server.url(host=host), table="loans")
    if allowed:
        assert extract_sql(asked, HERE).head.num_rows == 3
    else:
        with pytest.raises(RemoteForbidden) as caught:
            extract_sql(asked, HERE)
        assert "s3cr" not in str(caught.value)


@pytest.mark.parametrize(
    "more",
    ["?hostaddr=127.0.0.1", "?host=127.0.0.1", "?service=x", "?host=db.example.com,127.0.0.1"],
)
def test_no_part_of_the_url_leads_around_the_list(
    server: Any, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    public = [(0, 0, 0, "", ("93.184.216.34", 5432))]
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *a, **k: public if host == "db.example.com" else real(host, *a, **k),
    )
    monkeypatch.setenv("AGENTLOOP_REMOTE_SOURCES", "db.example.com")
    with pytest.raises(RemoteForbidden):
        server.read(url=f"postgresql://loop@db.example.com:5432/d{more}", table="loans")
