"""The front door of training: from a dataset version to a registered model version."""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from agentloop.contracts.errors import DiskFull
from agentloop.contracts.models import ModelVersion, TrainingResult
from agentloop.contracts.spec import AUTO
from agentloop.lifecycle.arrow_dataset import read_columns
from agentloop.lifecycle.arrow_split import split_rows
from agentloop.lifecycle.registry import Registry
from agentloop.training.config import TrainingConfig
from agentloop.training.dataset import PreparedData, RawData, prepare
from agentloop.training.decisions import architecture_of, choose_folds, parameters_hash
from agentloop.training.family_source import family_source
from agentloop.training.registration import Candidate, ModelRegistry

if TYPE_CHECKING:
    from agentloop.training.evaluation import Evaluation
    from agentloop.training.trained import TrainedModel

MIN_FREE_MB = 200


class ModelTrainingPipeline:
    """Trains one model and registers it, once per idempotency key.

    ``registry`` defaults to MLflow at ``config.tracking_uri``; ``ray_ready`` is called once, just
    before Ray is needed (never, if it is not); ``on_progress`` gets a sentence now and then, from
    any thread; ``now`` stamps the version.
    """

    def __init__(
        self,
        config: TrainingConfig,
        *,
        registry: Registry | None = None,
        ray_ready: Callable[[], None] | None = None,
        on_progress: Callable[[str], None] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        from agentloop.lifecycle.mlflow_registry import MlflowRegistry
        from agentloop.training.mlflow_tracker import MLflowTracker

        self.config = config
        self.tracker = MLflowTracker(config.tracking_uri, config.artifact_root)
        self.registry = ModelRegistry(registry or MlflowRegistry(config.tracking_uri))
        self._ray_ready = ray_ready or (lambda: None)
        self._say = on_progress or (lambda text: None)
        self._now = now

    async def train_model(self, experiment_name: str) -> TrainingResult:
        """Load, fit, evaluate on the held-out rows, log and register.

        The same key again returns the version it registered; after a kill it goes on from the
        finished search and the last checkpoint. Raises TrainingError (and its kinds), DataError
        when the stored data are gone or changed, ClusterError, DiskFull.
        """
        config, key = self.config, self.config.idempotency_key
        try:
            version = await asyncio.to_thread(self.registry.find, config.model, key)
            if version is None:
                run = self.tracker.start_run(
                    experiment_name, self._run_name, key, self._run_tags, config.attempt_dir
                )
                async with run as run_id:
                    data = await self.feature_pipeline(await self.load_training_data())
                    trained = await self.train_with_checkpoints(data)
                    evaluation = await self.evaluate_model(trained, data)
                    candidate = await self.log_artifacts(run_id, trained, data, evaluation)
                    version = await asyncio.to_thread(self.registry.register_model, candidate, key)
            return await asyncio.to_thread(self._finish, version)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise _disk_full(config.home) from error
            raise

    async def load_training_data(self) -> RawData:
        """The verified columns of the dataset version, and its test split.

        Raises SchemaMismatch where the split names a column that the version does not have.
        """
        dataset = self.config.dataset
        self._say(f"reading {dataset.rows} rows of {dataset.version}")
        columns = await asyncio.to_thread(read_columns, dataset)
        kinds = {column.name: column.kind for column in dataset.schema.columns}
        test = await asyncio.to_thread(split_rows, columns, dataset.rows, self.config.split, kinds)
        return RawData(columns, dataset.schema, test)

    async def feature_pipeline(self, raw: RawData) -> PreparedData:
        """Matrices; the features are fitted on the training split alone."""
        spec = self.config.spec
        folds = choose_folds(
            spec.search.folds, int((~raw.test).sum()), searched=spec.family == AUTO
        )
        return await asyncio.to_thread(
            prepare, raw, self.config.split, spec.features, spec.seed, folds
        )

    async def train_with_checkpoints(self, data: PreparedData) -> TrainedModel:
        """Search the parameters, then fit with the best ones."""
        from agentloop.training.fitting_ray import fit_best

        return await asyncio.to_thread(fit_best, self.config, data, self._ray_ready, self._say)

    async def evaluate_model(self, trained: TrainedModel, data: PreparedData) -> Evaluation:
        """All metrics; this is the only look at the test split."""
        from agentloop.training.evaluation import evaluate

        return await asyncio.to_thread(evaluate, self.config, trained, data)

    async def log_artifacts(
        self, run_id: str, trained: TrainedModel, data: PreparedData, evaluation: Evaluation
    ) -> Candidate:
        """Export, check and seal the bundle, and log everything to the run."""
        from agentloop.training.artifacts_mlflow import build_and_log

        self._say("exporting the model and logging the run")
        digest, uri, metrics = await asyncio.to_thread(
            build_and_log, self.tracker, run_id, self.config, trained, data, evaluation
        )
        return self._candidate(run_id, trained, digest, uri, metrics)

    def _candidate(
        self,
        run_id: str,
        trained: TrainedModel,
        digest: str,
        uri: str,
        metrics: dict[str, float],
    ) -> Candidate:
        config, spec = self.config, self.config.spec
        parameters = trained.parameters
        source = family_source(spec.family, config.base_dir)
        return Candidate(
            model=config.model,
            change=spec.change,
            architecture=architecture_of(spec.family, parameters),
            data_hash=config.dataset.content_hash,
            parameters_hash=parameters_hash(spec.family, parameters, spec.seed, source),
            data_version=config.dataset.version,
            digest=digest,
            artifact_uri=uri,
            run_id=run_id,
            metrics=metrics,
            tags=self._run_tags,
            created_at=self._now().isoformat(),
        )

    def _finish(self, version: ModelVersion) -> TrainingResult:
        """Close the run, which a kill may have left open, and drop what only a retry needs."""
        self.tracker.settle(version.run_id)
        shutil.rmtree(self.config.work_dir, ignore_errors=True)
        return TrainingResult(version, version.metrics, version.run_id)

    @property
    def _run_name(self) -> str:
        return f"{self.config.model}-{self.config.dataset.version[:12]}"

    @property
    def _run_tags(self) -> dict[str, str]:
        config = self.config
        return {
            "model": config.model,
            "seed": str(config.spec.seed),
            "schema_digest": config.dataset.schema.digest,
            "data_hash": config.dataset.content_hash,
            "data_revision": config.dataset.revision,
            "code_version": config.code_version,
            "lock_hash": config.lock_hash,
        }


def _disk_full(home: Path) -> DiskFull:
    free = shutil.disk_usage(home).free // 2**20
    return DiskFull(str(home), MIN_FREE_MB, int(free))
