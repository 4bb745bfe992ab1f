"""Does the work of each stage, through the front doors of the packages."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentloop.contracts import (
    DatasetVersion,
    DeploymentError,
    LoopSpec,
    ModelVersion,
    StagedModel,
    from_dict,
    to_dict,
)
from agentloop.data import DataIngestionPipeline
from agentloop.lifecycle import Registry, Trigger, advance, open_signer
from agentloop.loop.arrow_example_request import write_example_request
from agentloop.loop.code_identity import code_identity
from agentloop.loop.events import EventLog
from agentloop.loop.home import StateFolder
from agentloop.loop.lineage import LoopLineage, open_loop_lineage, recorded
from agentloop.loop.operations import remember_spec
from agentloop.loop.progress import Progress
from agentloop.loop.ray_cluster import RayCluster
from agentloop.loop.retirement import archive_replaced
from agentloop.loop.run_keys import training_key
from agentloop.loop.stages import StageOutcome
from agentloop.serving import control_store

if TYPE_CHECKING:
    from agentloop.serving import BlueGreenDeployment, RolloutEvent


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Conductor:
    """The ``LoopStages`` of one spec. ``key`` names the run; ``base_dir`` is loop.yaml's folder."""

    spec: LoopSpec
    base_dir: Path
    home: StateFolder
    cluster: RayCluster
    progress: Progress
    key: str
    now: Callable[[], datetime] = _now
    _tracking: threading.Thread | None = None
    _plane: threading.Thread | None = None
    _plane_error: BaseException | None = None
    _registry: Registry | None = field(default=None)

    def warm_up(self) -> None:
        """Start what later stages wait for: the cluster, the tracking store, the serving plane."""
        self.cluster.begin()
        self._tracking = threading.Thread(target=self._prepare_tracking, daemon=True)
        self._tracking.start()
        self._plane = threading.Thread(target=self._start_plane, daemon=True)
        self._plane.start()

    # --- the stages ------------------------------------------------------------------------------

    @recorded
    async def ingest(self) -> StageOutcome:
        pipeline = DataIngestionPipeline(
            self.spec.data,
            name=self.spec.name,
            base_dir=self.base_dir,
            home=self.home.root,
            ray_ready=self._ray_ready,
        )
        batch = await pipeline.ingest_batch(self.key)
        for finding in batch.validation.findings:
            self.progress.note(f"data: {finding.message}")
        version = batch.version
        columns = len(version.schema.columns)
        summary = f"{version.rows:,} rows, {columns} columns, version {version.version}"
        return StageOutcome(to_dict(version), summary)

    @recorded
    async def train(self, dataset: dict[str, Any], training_round: int) -> StageOutcome:
        from agentloop.training import ModelTrainingPipeline, TrainingConfig

        version = from_dict(DatasetVersion, dataset)
        code, lock = code_identity()
        config = TrainingConfig(
            model=self.spec.name,
            spec=self.spec.model,
            dataset=version,
            split=self.spec.data.split,
            idempotency_key=training_key(self.spec, version.version, training_round),
            tracking_uri=self.home.tracking_uri,
            home=self.home.root,
            base_dir=self.base_dir,
            code_version=code,
            lock_hash=lock,
        )
        pipeline = ModelTrainingPipeline(
            config,
            registry=self.registry(),
            ray_ready=self._ray_ready,
            on_progress=self.progress.note,
        )
        result = await pipeline.train_model(self.spec.name)
        model = result.model_version
        self._log("registered", model, metrics=dict(result.metrics))
        return StageOutcome(
            to_dict(result), f"version {model.version}, {_headline(result.metrics)}"
        )

    @recorded
    async def validate(self, version: dict[str, Any]) -> StageOutcome:
        from agentloop.validation import ModelValidationPipeline

        registry = self.registry()
        model = from_dict(ModelVersion, version)
        model = self._advance(model, Trigger.DATA_READY, Trigger.TRAINING_COMPLETE)
        pipeline = ModelValidationPipeline(
            self.spec.validation,
            registry=registry,
            signer=open_signer(self.home.keys),
            stage=self._stage,
            reports=self.home.reports,
            now=self.now,
        )
        report = await pipeline.validate_model(model)
        approved = report.deployment_approved
        self._advance(model, Trigger.TESTS_PASSED if approved else Trigger.TESTS_FAILED)
        self._log("approved" if approved else "rejected", model, reasons=list(report.reasons))
        if not approved:
            await self._give_back(model)
        value = {
            "approved": approved,
            "reasons": list(report.reasons),
            "recommendations": list(report.recommendations),
            "report": str(self.home.reports / model.model / f"{model.version}.report.html"),
        }
        passed = sum(1 for suite in report.test_results.values() if suite.passed)
        verdict = "approved" if approved else "rejected"
        return StageOutcome(value, f"{verdict}: {passed} of {len(report.test_results)} suites pass")

    @recorded
    async def deploy(self, version: dict[str, Any]) -> StageOutcome:
        model = self.registry().get(str(version["model"]), str(version["version"]))
        result = await (await self.deployment()).deploy_model(model)
        self._log(result.status, model, **dict(result.metrics))
        if result.status != "completed":
            reasons = "; ".join(result.reasons) or result.status
            raise DeploymentError(model.model, model.version, f"{result.status}: {reasons}")
        for archived in archive_replaced(self.registry(), model.model):
            self._log("archived", archived)
        remember_spec(self.home, self.spec)
        request = await asyncio.to_thread(write_example_request, model, self.home)
        value = {**to_dict(result), "request": str(request)}
        return StageOutcome(value, "; ".join(result.reasons) or "all traffic")

    @recorded
    async def monitor(self, version: dict[str, Any]) -> StageOutcome:
        from agentloop.monitoring import start_monitoring

        model = from_dict(ModelVersion, version)
        await asyncio.to_thread(self.cluster.ready)
        handle = await asyncio.to_thread(
            start_monitoring, self.spec.monitoring, model, home=self.home.root
        )
        value = {"metrics_url": handle.metrics_url}
        return StageOutcome(value, f"watching {model.version}")

    # --- what they share -------------------------------------------------------------------------

    @cached_property
    def lineage(self) -> LoopLineage:
        """Where the stages' lineage goes."""
        root, note = self.home.root, self.progress.note
        return open_loop_lineage(self.spec.name, self.key, root, self.now, note)

    def registry(self) -> Registry:
        """The MLflow registry of the state folder."""
        if self._tracking is not None:
            self._tracking.join()
        if self._registry is None:
            from agentloop.lifecycle.mlflow_registry import MlflowRegistry

            self._registry = MlflowRegistry(self.home.tracking_uri)
        return self._registry

    async def deployment(self) -> BlueGreenDeployment:
        """The deployment of this spec, once the serving plane is up."""
        await asyncio.to_thread(self._plane_ready)
        from agentloop.loop.serving_setup import open_deployment

        return open_deployment(self.spec, self.home, self.registry(), listen=self._tell)

    def _tell(self, event: RolloutEvent) -> None:
        """A rollout's event, as the note under the running stage."""
        if event.kind == "effect":
            self.progress.note(f"{event.model}: {event.action}")

    async def _stage(self, model: ModelVersion) -> StagedModel:
        return await (await self.deployment()).stage(model)

    async def _give_back(self, model: ModelVersion) -> None:
        """Stop the replicas that the gate had tested, unless the version has a share of traffic
        or is kept warm: a stricter gate does not take a served model down."""
        split = control_store(self.home.root).split(model.model)
        if split is None or model.version not in split.weights:
            await (await self.deployment()).unstage(model)

    def _ray_ready(self) -> None:
        self.cluster.ready()

    def _prepare_tracking(self) -> None:
        from agentloop.training import prepare_tracking

        prepare_tracking(self.home.tracking_uri)

    def _start_plane(self) -> None:
        try:
            self.cluster.ready()
            from agentloop.serving import start_serving_plane

            start_serving_plane(self.home.root, self.spec.serving)
        except BaseException as error:
            self._plane_error = error

    def _plane_ready(self) -> None:
        assert self._plane is not None
        self._plane.join()
        if self._plane_error is not None:
            raise self._plane_error

    def _advance(self, model: ModelVersion, *triggers: Trigger) -> ModelVersion:
        return advance(self.registry(), model.model, model.version, *triggers)

    def _log(self, kind: str, model: ModelVersion, **detail: Any) -> None:
        log = EventLog(self.home.events)
        log.append(kind, model.model, self.now(), model.version, **detail)


def _headline(metrics: Any) -> str:
    for name in ("accuracy", "r2"):
        if name in metrics:
            return f"{name} {metrics[name]:.4f}"
    return ", ".join(f"{name} {value:.4f}" for name, value in list(metrics.items())[:2])
