"""The control store in one SQLite file: several processes of one machine share it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from agentloop.contracts.codec import canonical_json, from_dict, to_dict
from agentloop.contracts.traffic import TrafficSplit
from agentloop.serving.control.sqlite_file import KeptOpen, opened, transaction
from agentloop.serving.control.store import (
    Bake,
    EdgeAddress,
    Order,
    Progress,
    Rollout,
    RolloutEvent,
    StagedVersion,
    adopt,
    check_epoch,
    check_fence,
    superseded,
)

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS nouns (
  kind TEXT NOT NULL, model TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL,
  seq INTEGER PRIMARY KEY AUTOINCREMENT, UNIQUE (kind, model, key));
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, body TEXT NOT NULL);
"""
_UPSERT = """
INSERT INTO nouns (kind, model, key, body) VALUES (?, ?, ?, ?)
ON CONFLICT (kind, model, key) DO UPDATE SET body = excluded.body
"""
_SELECT = "SELECT body FROM nouns WHERE kind = ? AND (? IS NULL OR model = ?) ORDER BY seq"
T = TypeVar("T")


class SqliteControlStore:
    """A ControlStore in the file ``path``; made on first use. A connection a call: calls are few,
    and a connection may cross neither threads nor forks."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        return self._path

    def keep_open(self) -> KeptOpen:
        """For a process that lives long: until it is closed no call, of any process, is the last
        to close the file, which would wait for the disk. Raises sqlite3.Error."""
        return KeptOpen(self._path, _SCHEMA)

    def address(self) -> EdgeAddress | None:
        found = self._read("address", EdgeAddress)
        return found[0] if found else None

    def put_address(self, address: EdgeAddress | None) -> None:
        with self._write() as db:
            if address is None:
                db.execute("DELETE FROM nouns WHERE kind = 'address'")
            else:
                _put(db, "address", "", "", address)

    def staged(self) -> tuple[StagedVersion, ...]:
        return self._read("staged", StagedVersion)

    def put_staged(self, staged: StagedVersion) -> None:
        with self._write() as db:
            _put(db, "staged", staged.model, staged.version, staged)

    def remove_staged(self, model: str, version: str) -> None:
        self._delete("staged", model, version)

    def split(self, model: str) -> TrafficSplit | None:
        found = self._read("split", TrafficSplit, model)
        return found[0] if found else None

    def splits(self) -> tuple[TrafficSplit, ...]:
        return self._read("split", TrafficSplit)

    def put_split(self, split: TrafficSplit) -> None:
        with self._write() as db:
            current = _select(db, "split", TrafficSplit, split.model)
            check_epoch(current[0] if current else None, split)
            _put(db, "split", split.model, "", split)

    def bakes(self) -> tuple[Bake, ...]:
        return self._read("bake", Bake)

    def put_bake(self, bake: Bake) -> None:
        with self._write() as db:
            _put(db, "bake", bake.model, bake.version, bake)

    def remove_bake(self, model: str, version: str) -> None:
        self._delete("bake", model, version)

    def claim(self, rollout: Rollout, now: float) -> Rollout:
        with self._write() as db:
            past = _select(db, "rollout", Rollout, rollout.model)
            last = past[-1] if past else None
            claimed = adopt(last, rollout, now)
            if (ended := superseded(last, claimed, now)) is not None:
                _put(db, "rollout", ended.model, ended.deployment_id, ended)
            _put(db, "rollout", claimed.model, claimed.deployment_id, claimed)
            return claimed

    def put_rollout(self, rollout: Rollout) -> None:
        with self._write() as db:
            past = _select(db, "rollout", Rollout, rollout.model)
            known = [r for r in past if r.deployment_id == rollout.deployment_id]
            check_fence(known[0] if known else None, rollout)
            _put(db, "rollout", rollout.model, rollout.deployment_id, rollout)

    def rollouts(self, model: str) -> tuple[Rollout, ...]:
        return self._read("rollout", Rollout, model)

    def order(self, model: str) -> Order | None:
        found = self._read("order", Order, model)
        return found[0] if found else None

    def put_order(self, order: Order) -> None:
        with self._write() as db:
            _put(db, "order", order.model, "", order)

    def remove_order(self, model: str) -> None:
        self._delete("order", model, "")

    def progress(self, model: str) -> Progress | None:
        found = self._read("progress", Progress, model)
        return found[0] if found else None

    def put_progress(self, progress: Progress) -> None:
        with self._write() as db:
            _put(db, "progress", progress.model, "", progress)

    def record(self, event: RolloutEvent) -> None:
        with self._write() as db:
            body = canonical_json(to_dict(event))
            db.execute("INSERT INTO events (model, body) VALUES (?, ?)", (event.model, body))

    def events(self, model: str) -> tuple[RolloutEvent, ...]:
        rows = self._rows("SELECT body FROM events WHERE model = ? ORDER BY seq", (model,))
        return tuple(from_dict(RolloutEvent, json.loads(body)) for (body,) in rows)

    def _read(self, kind: str, cls: type[T], model: str | None = None) -> tuple[T, ...]:
        return _nouns(self._rows(_SELECT, (kind, model, model)), cls)

    def _rows(self, query: str, values: tuple[Any, ...]) -> list[tuple[str]]:
        """Without a look at the schema, which takes longer than to read."""
        if not self._path.exists():
            return []
        try:
            with opened(self._path) as db:
                return db.execute(query, values).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):  # the first writer is making the file just now
                return []
            raise

    def _delete(self, kind: str, model: str, key: str) -> None:
        with self._write() as db:
            db.execute(
                "DELETE FROM nouns WHERE kind = ? AND model = ? AND key = ?", (kind, model, key)
            )

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with opened(self._path, _SCHEMA) as db, transaction(db):
            yield db


def _put(db: sqlite3.Connection, kind: str, model: str, key: str, noun: Any) -> None:
    db.execute(_UPSERT, (kind, model, key, canonical_json(to_dict(noun))))


def _select(
    db: sqlite3.Connection, kind: str, cls: type[T], model: str | None = None
) -> tuple[T, ...]:
    return _nouns(db.execute(_SELECT, (kind, model, model)).fetchall(), cls)


def _nouns(rows: list[tuple[str]], cls: type[T]) -> tuple[T, ...]:
    return tuple(from_dict(cls, json.loads(body)) for (body,) in rows)
