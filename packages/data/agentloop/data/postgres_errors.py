"""What PostgreSQL says, told as one of our errors, without a password."""

from __future__ import annotations

import psycopg
from psycopg import errors

from agentloop.contracts.errors import DataError, QueryRefused, SourceNotFound, SourceUnreadable
from agentloop.data.sql_url import scrubbed


def told(error: Exception, shown: str, secret: str, rows: int = 0) -> DataError:
    """``rows`` had been read when it happened."""
    diagnosis = error.diag if isinstance(error, psycopg.Error) else None
    message = scrubbed((diagnosis and diagnosis.message_primary) or _last_line(error), secret)
    match error:
        case errors.UndefinedColumn():
            hint = scrubbed(diagnosis.message_hint or "", secret) if diagnosis else ""
            found = "did you mean" + hint.rpartition("the column")[2] + "?"
            step = found if "the column" in hint else "mend the column's name in the query"
            name = message.removeprefix("column ").removesuffix(" does not exist").strip('"')
            return SourceNotFound(f"{shown} (column '{name}')", next_step=step)
        case errors.ReadOnlySqlTransaction():
            return QueryRefused(shown, f"it writes ({message})")
        case errors.InsufficientPrivilege():
            return SourceUnreadable(shown, message, next_step="GRANT SELECT on it to this user")
        case errors.AdminShutdown() | errors.CrashShutdown() | errors.CannotConnectNow():
            return _gone(shown, message, rows)
        case errors.QueryCanceled():
            step = "run it again, or ask who cancelled it"
            return SourceUnreadable(shown, f"the query was cancelled ({message})", next_step=step)
        case errors.InvalidPassword() | errors.InvalidAuthorizationSpecification():
            return SourceUnreadable(shown, message, next_step="check the user and the password")
        case errors.InvalidCatalogName():
            return SourceNotFound(f"{shown} ({message})", next_step="check the database's name")
        case psycopg.OperationalError() if error.sqlstate is None:
            return _unreached(shown, message, rows)
        case psycopg.DataError() | psycopg.ProgrammingError() | ValueError():
            return SourceUnreadable(shown, message, next_step="mend the query or its parameters")
    return SourceUnreadable(shown, message, next_step="see the server's log, then run it again")


def _unreached(shown: str, message: str, rows: int) -> SourceUnreadable:
    if "authentication" in message or "no password" in message or "role" in message:
        return SourceUnreadable(shown, message, next_step="check the user and the password")
    if "database" in message and "does not exist" in message:
        return SourceUnreadable(shown, message, next_step="check the database's name")
    if "closed" in message or "lost" in message or "terminat" in message:
        return _gone(shown, message, rows)
    return SourceUnreadable(
        shown, message, next_step="check that the server runs, and its host and port"
    )


def _gone(shown: str, message: str, rows: int) -> SourceUnreadable:
    reason = f"the server went away after {rows:,} rows ({message})"
    return SourceUnreadable(shown, reason, next_step="run it again once the server is back")


def _last_line(error: Exception) -> str:
    """libpq names every address that it tried; the last line holds the reason of the last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reasons = [line for line in lines if "FATAL" in line or "failed" in line]
    return (reasons or lines or [type(error).__name__])[0]
