"""The registry in MLflow: what the loop knows of a version is what MLflow's own UI shows.

A registered model is a model; each semantic version is one MLflow model version, whose tags hold
the fields below and the evidence; aliases are MLflow aliases.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agentloop.contracts.codec import canonical_json
from agentloop.contracts.errors import InvalidVersion, VersionNotFound
from agentloop.contracts.models import ModelVersion, Stage
from agentloop.lifecycle.mlflow_store import explained, open_client
from agentloop.lifecycle.transitions import Trigger, next_stage

PREFIX = "agentloop."
VERSION = f"{PREFIX}version"
STAGE = f"{PREFIX}stage"
KEY = f"{PREFIX}idempotency_key"
DIGEST = f"{PREFIX}digest"
DATA = f"{PREFIX}data_version"
METRICS = f"{PREFIX}metrics"
CREATED = f"{PREFIX}created_at"
FIELDS = frozenset({VERSION, STAGE, KEY, DIGEST, DATA, METRICS, CREATED})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class MlflowRegistry:
    """A ``Registry`` in the MLflow store at ``tracking_uri``. Every method may raise
    TrackingFailed."""

    def __init__(self, tracking_uri: str) -> None:
        self._uri = tracking_uri
        self._opened: Any = None

    @property
    def _client(self) -> Any:
        if self._opened is None:
            self._opened = open_client(self._uri)
        return self._opened

    def get(self, model: str, version: str) -> ModelVersion:
        return _noun(self._row(model, version))

    def versions(self, model: str) -> tuple[ModelVersion, ...]:
        return tuple(_noun(row) for row in self._rows(model))

    def find(self, model: str, idempotency_key: str) -> ModelVersion | None:
        for row in self._rows(model):
            if row.tags[KEY] == idempotency_key:
                return _noun(row)
        return None

    def alias(self, model: str, alias: str) -> ModelVersion | None:
        rows = self._rows(model)
        if not rows:
            return None
        with explained(self._uri):  # a search leaves the aliases of its rows empty
            number = self._client.get_registered_model(model).aliases.get(alias)
        return next((_noun(row) for row in rows if str(row.version) == str(number)), None)

    def register(self, candidate: ModelVersion, idempotency_key: str) -> ModelVersion:
        """One MLflow transaction writes the version with all its tags: a kill leaves all or none.

        Of two processes that register one key at the same moment the first stays, and both get it.
        """
        known = self.find(candidate.model, idempotency_key)
        if known is not None:
            return known
        if any(row.tags[VERSION] == candidate.version for row in self._rows(candidate.model)):
            reason = "another model is registered under it already"
            raise InvalidVersion(candidate.version, reason)
        self._ensure_model(candidate.model)
        with explained(self._uri):
            created = self._client.create_model_version(
                candidate.model,
                source=candidate.artifact_uri,
                run_id=candidate.run_id or None,
                tags=_tags(candidate, idempotency_key),
                await_creation_for=0,
            )
            first = next(r for r in self._rows(candidate.model) if r.tags[KEY] == idempotency_key)
            if int(first.version) != int(created.version):
                self._client.delete_model_version(candidate.model, created.version)
        return _noun(first)

    def transition(self, model: str, version: str, trigger: Trigger) -> ModelVersion:
        row = self._row(model, version)
        current = _noun(row)
        stage = next_stage(current.stage, trigger)
        self._set_tag(row, STAGE, stage.value)
        return replace(current, stage=stage)

    def set_alias(self, model: str, alias: str, version: str) -> None:
        row = self._row(model, version)
        with explained(self._uri):
            self._client.set_registered_model_alias(model, alias, row.version)

    def tag(self, model: str, version: str, key: str, value: str) -> ModelVersion:
        if key in FIELDS:
            raise ValueError(f"'{key}' is a field of the version, not evidence")
        row = self._row(model, version)
        self._set_tag(row, key, value)
        current = _noun(row)
        return replace(current, tags={**current.tags, key: value})

    def _row(self, model: str, version: str) -> Any:
        for row in self._rows(model):
            if row.tags[VERSION] == version:
                return row
        raise VersionNotFound(model, version)

    def _rows(self, model: str) -> list[Any]:
        """MLflow's versions of ``model`` that are ours, oldest first."""
        if not _NAME.fullmatch(model):
            return []  # never registered, and not safe to put into a filter
        rows: list[Any] = []
        token = None
        with explained(self._uri):
            while True:
                page = self._client.search_model_versions(f"name = '{model}'", page_token=token)
                rows += [row for row in page if row.tags.keys() >= FIELDS]
                token = page.token
                if not token:
                    return sorted(rows, key=lambda row: int(row.version))

    def _ensure_model(self, model: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                with explained(self._uri):
                    raise

    def _set_tag(self, row: Any, key: str, value: str) -> None:
        with explained(self._uri):
            self._client.set_model_version_tag(row.name, row.version, key, value)


def _tags(version: ModelVersion, idempotency_key: str) -> dict[str, str]:
    return {
        **version.tags,
        VERSION: version.version,
        STAGE: version.stage.value,
        KEY: idempotency_key,
        DIGEST: version.digest,
        DATA: version.data_version,
        METRICS: canonical_json(dict(version.metrics)),
        CREATED: version.created_at,
    }


def _noun(row: Any) -> ModelVersion:
    tags: Mapping[str, str] = row.tags
    return ModelVersion(
        model=row.name,
        version=tags[VERSION],
        stage=Stage(tags[STAGE]),
        digest=tags[DIGEST],
        artifact_uri=row.source,
        run_id=row.run_id or "",
        data_version=tags[DATA],
        metrics=json.loads(tags[METRICS]),
        tags={key: value for key, value in tags.items() if key not in FIELDS},
        created_at=tags[CREATED],
    )
