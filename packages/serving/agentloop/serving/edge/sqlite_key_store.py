"""API keys in one SQLite file of the state folder that only its owner may read."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentloop.contracts.codec import canonical_json, from_dict, to_dict
from agentloop.serving.control.sqlite_file import opened, transaction
from agentloop.serving.edge.api_keys import ApiKey, name_taken, revoked

KEYS_FILE = "api_keys.db"
_SCHEMA = "CREATE TABLE IF NOT EXISTS keys (seq INTEGER PRIMARY KEY, name TEXT UNIQUE, body TEXT)"


class SqliteKeyStore:
    """A KeyStore in the file ``path``; made, with mode 0600, on the first write."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> tuple[ApiKey, ...]:
        if not self._path.exists():
            return ()
        with self._connect() as db:
            rows = db.execute("SELECT body FROM keys ORDER BY seq").fetchall()
        return tuple(_key(body) for (body,) in rows)

    def add(self, key: ApiKey) -> None:
        with self._write() as db:
            try:
                db.execute("INSERT INTO keys (name, body) VALUES (?, ?)", (key.name, _body(key)))
            except sqlite3.IntegrityError:
                raise name_taken(key.name) from None

    def revoke(self, name: str, now: float) -> ApiKey:
        with self._write() as db:
            row = db.execute("SELECT body FROM keys WHERE name = ?", (name,)).fetchone()
            key = revoked(_key(row[0]) if row else None, name, now)
            db.execute("UPDATE keys SET body = ? WHERE name = ?", (_body(key), name))
            return key

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        # SQLite gives its journal the mode of the file, so the file's own mode is enough.
        self._path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        with opened(self._path, _SCHEMA) as db:
            yield db

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._connect() as db, transaction(db):
            yield db


def _body(key: ApiKey) -> str:
    return canonical_json(to_dict(key))


def _key(body: str) -> ApiKey:
    return from_dict(ApiKey, json.loads(body))
