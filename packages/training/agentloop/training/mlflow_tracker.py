"""Runs in MLflow: one a training attempt, found again by its idempotency key."""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from agentloop.contracts.codec import canonical_json, to_dict
from agentloop.contracts.data import DatasetVersion
from agentloop.contracts.errors import TrackingFailed
from agentloop.lifecycle.mlflow_registry import KEY
from agentloop.lifecycle.mlflow_store import explained, open_client, sqlite_path
from agentloop.training.fits import Epoch
from agentloop.training.mlflow_live import MOST_VALUES, LiveLog

BUNDLE = "bundle"
MAX_DIGEST = 36  # MLflow's column
WAIT_S = 60.0  # for a store that is away, at the end of a training


class MLflowTracker:
    """Writes runs to ``tracking_uri``; a local store keeps their files under ``artifact_root``.

    Only explicit clients, never MLflow's global state. Methods raise TrackingFailed.
    """

    def __init__(self, tracking_uri: str, artifact_root: Path) -> None:
        self._uri = tracking_uri
        self._artifact_root = artifact_root
        self._opened: Any = None
        self._live: LiveLog | None = None

    @asynccontextmanager
    async def start_run(
        self,
        experiment_name: str,
        run_name: str,
        key: str,
        tags: Mapping[str, str],
        told: Path | None = None,
    ) -> AsyncIterator[str]:
        """The id of a fresh run, which ends FINISHED, FAILED, or KILLED when it is cancelled.

        A run that a killed attempt with the same ``key`` left open is marked KILLED first. What is
        told under the folder ``told`` is sent while the run goes on, and so are the values that an
        earlier attempt told there.
        """
        run_id = await asyncio.to_thread(self._open_run, experiment_name, run_name, key, tags)
        if told is not None:
            self._live = LiveLog(told, run_id, self._send)
            self._live.start()
        try:
            yield run_id
            await asyncio.to_thread(self._close_live, WAIT_S)
        except Exception as error:
            self._fail(run_id, "FAILED", (str(error).splitlines() or [""])[0])
            raise
        except BaseException:
            self._fail(run_id, "KILLED", "the run was interrupted")
            raise
        await asyncio.to_thread(self.settle, run_id)

    def _fail(self, run_id: str, status: str, note: str) -> None:
        """With a store that is away the run stays open: the next attempt closes it."""
        with suppress(TrackingFailed):
            self._close_live(0.0)
        with suppress(TrackingFailed):
            self._end(run_id, status, note)

    def _close_live(self, wait_s: float) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.close(wait_s)

    def _send(self, run_id: str, metrics: Sequence[Any]) -> None:
        with explained(self._uri):
            self._client.log_batch(run_id, metrics=metrics)

    def settle(self, run_id: str) -> None:
        """Mark a run FINISHED, unless it has ended already."""
        with explained(self._uri):
            if self._client.get_run(run_id).info.status == "RUNNING":
                self._client.set_terminated(run_id, "FINISHED")

    def log_inputs(self, run_id: str, dataset: DatasetVersion, params: Mapping[str, Any]) -> None:
        """The dataset version as an MLflow input, and the parameters."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param

        if self._live is not None:
            self._live.deliver(WAIT_S)  # so that what follows finds the store there

        source = {"uri": dataset.uri, "revision": dataset.revision, "version": dataset.version}
        entity = Dataset(
            name=dataset.name,
            digest=dataset.content_hash[:MAX_DIGEST],
            source_type="dvc",
            source=canonical_json(source),
            schema=canonical_json({"agentloop": to_dict(dataset.schema)}),
            profile=json.dumps({"num_rows": dataset.rows}),
        )
        tags = [InputTag("mlflow.data.context", "training")]
        values = [Param(name, _text(value)) for name, value in params.items()]
        with explained(self._uri):
            self._client.log_inputs(run_id, [DatasetInput(entity, tags)])
            self._client.log_batch(run_id, params=values)

    def log_metrics(
        self, run_id: str, metrics: Mapping[str, float], history: Sequence[Epoch] = ()
    ) -> None:
        """Final metrics, and the losses of epochs that were not told while they went by, in one
        call a thousand values."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        rows = [Metric(name, value, now, 0) for name, value in metrics.items()]
        for step, epoch in enumerate(history, start=1):
            losses = {"epoch_train_loss": epoch.train_loss, "epoch_val_loss": epoch.val_loss}
            rows += [
                Metric(name, value, now, step)
                for name, value in losses.items()
                if math.isfinite(value) and not self._told(name, step)
            ]
        for start in range(0, len(rows), MOST_VALUES):
            self._send(run_id, rows[start : start + MOST_VALUES])

    def _told(self, name: str, step: int) -> bool:
        return self._live is not None and self._live.journal.knows(name, step)

    def log_text(self, run_id: str, name: str, text: str) -> None:
        with explained(self._uri):
            self._client.log_text(run_id, text, name)

    def log_bundle(self, run_id: str, folder: Path) -> str:
        """Copy the bundle to the run; where it is: a local path in a local store, else a URI."""
        with explained(self._uri):
            self._client.log_artifacts(run_id, str(folder), BUNDLE)
            root = self._client.get_run(run_id).info.artifact_uri
        parsed = urlparse(root)
        if parsed.scheme in ("", "file"):
            return str(Path(unquote(parsed.path)) / BUNDLE)
        return f"{root}/{BUNDLE}"

    @property
    def _client(self) -> Any:
        if self._opened is None:
            # MLflow's own retries go on for minutes: those here are bounded and lose nothing.
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
            self._opened = open_client(self._uri)
        return self._opened

    def _open_run(self, experiment: str, run_name: str, key: str, tags: Mapping[str, str]) -> str:
        with explained(self._uri):
            experiment_id = self._experiment(experiment)
            for run in self._client.search_runs([experiment_id], "attributes.status = 'RUNNING'"):
                if run.data.tags.get(KEY) == key:
                    self._client.set_terminated(run.info.run_id, "KILLED")
            run = self._client.create_run(experiment_id, run_name=run_name, tags={**tags, KEY: key})
        run_id: str = run.info.run_id
        return run_id

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            local = sqlite_path(self._uri) is not None
            location = (self._artifact_root / _plain(name)).absolute().as_uri() if local else None
            created: str = self._client.create_experiment(name, artifact_location=location)
            return created
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        experiment_id: str = found.experiment_id
        return experiment_id

    def _end(self, run_id: str, status: str, note: str) -> None:
        with explained(self._uri):
            self._client.set_tag(run_id, "mlflow.note.content", note)
            self._client.set_terminated(run_id, status)


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name) or "_"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)
