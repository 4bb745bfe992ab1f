"""Open an MLflow store; make the embedded one so that a kill leaves all of it or nothing."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from agentloop.contracts.errors import TrackingFailed

SQLITE = "sqlite:///"
_making = Lock()


def open_client(tracking_uri: str) -> Any:
    """An ``MlflowClient`` on ``tracking_uri`` for tracking and registry alike.

    Importing mlflow takes 1.3 s, making a SQLite store 1.7 s: call ``prepare_tracking`` in a
    background thread early. Raises TrackingFailed if the store cannot be reached.
    """
    prepare_tracking(tracking_uri)
    from mlflow.tracking import MlflowClient

    with explained(tracking_uri):
        return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def prepare_tracking(tracking_uri: str, artifact_root: Path | None = None) -> None:
    """Import mlflow and make the SQLite file of ``tracking_uri``, if it is one and is missing.

    ``artifact_root`` is where the default experiment keeps files (else beside the SQLite file).
    Safe to call at any time, from any thread or process. Raises TrackingFailed.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # It logs the traceback of everything that it then raises.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    with explained(tracking_uri):
        import mlflow.tracking  # noqa: F401  (the slow import, paid here)
    path = sqlite_path(tracking_uri)
    if path is None:
        return
    with _making, explained(tracking_uri):
        if not path.exists():
            _make_sqlite(path, artifact_root or path.parent / "artifacts")


def sqlite_path(tracking_uri: str) -> Path | None:
    """The file of a SQLite URI, None for any other store."""
    return Path(tracking_uri.removeprefix(SQLITE)) if tracking_uri.startswith(SQLITE) else None


def _make_sqlite(path: Path, artifact_root: Path) -> None:
    """Migrate under another name first: a kill in the middle would leave a half-made schema."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    try:
        store = SqlAlchemyStore(f"{SQLITE}{partial}", artifact_root.absolute().as_uri())
        store.engine.dispose()
        os.link(partial, path)
    except FileExistsError:
        pass  # another process was first: its store stays
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def explained(tracking_uri: str) -> Iterator[None]:
    """MLflow's, SQLAlchemy's and the disk's errors as TrackingFailed."""
    try:
        yield
    except Exception as error:
        if not _is_store_error(error):
            raise
        first = (str(error).splitlines() or [""])[0]
        raise TrackingFailed(f"the tracking store {tracking_uri} failed: {first}") from error


def _is_store_error(error: Exception) -> bool:
    origin = type(error).__module__.split(".")[0]
    return isinstance(error, OSError) or origin in ("mlflow", "sqlalchemy", "sqlite3", "alembic")
