"""Whole trainings: without Ray where nothing needs it, else on one shared cluster."""

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from agentloop.contracts import (
    ClusterError,
    SourceUnreadable,
    Stage,
    TrainingDiverged,
    TrainingError,
)
from agentloop.lifecycle import MemoryRegistry, open_bundle
from agentloop.lifecycle.mlflow_registry import MlflowRegistry
from agentloop.lifecycle.mlflow_store import open_client
from agentloop.training import ModelTrainingPipeline
from agentloop.training.onnx_export import run_onnx

SEARCH = {
    "trials": 3,
    "space": {
        "learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
        "hidden": {"choices": [[8], [16]]},
    },
}


def runs(config):
    client = open_client(config.tracking_uri)
    experiment = client.get_experiment_by_name("exp")
    return client.search_runs([experiment.experiment_id]) if experiment else []


async def test_a_version_is_trained_sealed_and_registered(config):
    needed = []
    pipeline = ModelTrainingPipeline(config, ray_ready=lambda: needed.append(1))
    result = await pipeline.train_model("exp")
    version = result.model_version
    bundle = open_bundle(Path(version.artifact_uri), version.digest)
    assert version.stage is Stage.VALIDATION
    assert version.version.startswith("1.0.0-")
    assert result.metrics["accuracy"] > 0.9
    assert bundle.signature.classes == ("c0", "c1")
    assert [column.datatype for column in bundle.signature.inputs] == ["FP64", "FP64", "BYTES"]
    assert needed == []


async def test_the_bundle_answers_for_its_own_holdout_rows(config):
    result = await ModelTrainingPipeline(config).train_model("exp")
    bundle = open_bundle(Path(result.model_version.artifact_uri))
    rows = pq.read_table(bundle.holdout_path)
    columns = {name: rows[name].to_numpy(zero_copy_only=False) for name in bundle.features.names}
    scores = run_onnx(bundle.model_path, bundle.features.transform(columns))
    labels = np.array(bundle.signature.classes)[scores.argmax(axis=1)]
    assert (labels == rows["label"].to_numpy(zero_copy_only=False)).mean() == pytest.approx(
        result.metrics["accuracy"]
    )
    assert scores.dtype == np.float32
    assert np.allclose(scores.sum(axis=1), 1.0, atol=1e-5)


async def test_the_run_says_what_it_was_made_of(config):
    result = await ModelTrainingPipeline(config).train_model("exp")
    client = open_client(config.tracking_uri)
    run = client.get_run(result.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["agentloop.idempotency_key"] == "key-1"
    assert run.inputs.dataset_inputs[0].dataset.digest == config.dataset.content_hash[:36]
    assert run.data.params["hidden"] == "[64]"
    assert len(client.get_metric_history(result.run_id, "epoch_val_loss")) > 1
    plots = {Path(file.path).name for file in client.list_artifacts(result.run_id, "plots")}
    assert {"learning_curve.svg", "confusion_matrix.svg"} <= plots


async def test_the_same_training_gives_the_same_digest(config):
    one = await ModelTrainingPipeline(config).train_model("exp")
    again = replace(config, idempotency_key="key-2")
    two = await ModelTrainingPipeline(again).train_model("exp")
    assert one.model_version.digest == two.model_version.digest
    assert two.model_version.version.startswith("1.1.0-")


async def test_one_key_is_one_version_and_one_run(config):
    one = await ModelTrainingPipeline(config).train_model("exp")
    two = await ModelTrainingPipeline(config).train_model("exp")
    assert one == two
    assert len(runs(config)) == 1
    assert not config.work_dir.exists()


async def test_regression_answers_in_the_targets_unit(make_config):
    x = np.linspace(0, 10, 300)
    config = make_config({"x": x, "y": 1000 + 50 * x}, {}, "y", family="linear",
                         parameters={"epochs": 200, "learning_rate": 0.05})  # fmt: skip
    result = await ModelTrainingPipeline(config).train_model("exp")
    bundle = open_bundle(Path(result.model_version.artifact_uri))
    values = run_onnx(bundle.model_path, bundle.features.transform({"x": np.array([0.0, 10.0])}))
    assert result.metrics["r2"] > 0.99
    assert values[:, 0] == pytest.approx([1000, 1500], rel=0.05)
    assert bundle.signature.classes == ()


async def test_a_failed_training_registers_nothing_and_ends_its_run(make_config):
    config = make_config(parameters={"learning_rate": 1e30})
    with pytest.raises(TrainingDiverged):
        await ModelTrainingPipeline(config).train_model("exp")
    assert [run.info.status for run in runs(config)] == ["FAILED"]
    assert MlflowRegistry(config.tracking_uri).versions("blobs") == ()


async def test_data_that_were_changed_after_storing_are_refused(config, make_config):
    other = make_config(family="linear", name="other").dataset
    changed = replace(config, dataset=replace(config.dataset, content_hash=other.schema.digest))
    with pytest.raises(SourceUnreadable):
        await ModelTrainingPipeline(changed).train_model("exp")


class DyingRegistry(MemoryRegistry):
    """Fails at the moment of registration."""

    def register(self, candidate, idempotency_key):
        raise ConnectionError("cut off")


async def test_a_training_cut_off_at_registration_is_not_fitted_again(config):
    with pytest.raises(OSError, match="cut off"):
        await ModelTrainingPipeline(config, registry=DyingRegistry()).train_model("exp")
    checkpoint = next(config.work_dir.rglob("checkpoint.pt"))
    written = checkpoint.stat().st_mtime_ns
    registry = MemoryRegistry()
    again = ModelTrainingPipeline(config, registry=registry)
    data = await again.feature_pipeline(await again.load_training_data())
    await again.train_with_checkpoints(data)
    assert checkpoint.stat().st_mtime_ns == written
    await again.train_model("exp")
    assert len(registry.versions("blobs")) == 1


def _train_and_die(config):
    """A process that is killed while its run is open."""
    import asyncio

    async def killed(*args):
        os.kill(os.getpid(), signal.SIGKILL)

    pipeline = ModelTrainingPipeline(config)
    pipeline.log_artifacts = killed
    asyncio.run(pipeline.train_model("exp"))


async def test_a_retry_after_a_kill_ends_with_one_version_and_no_open_run(config):
    child = multiprocessing.get_context("spawn").Process(target=_train_and_die, args=(config,))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert [run.info.status for run in runs(config)] == ["RUNNING"]
    await ModelTrainingPipeline(config).train_model("exp")
    assert sorted(run.info.status for run in runs(config)) == ["FINISHED", "KILLED"]
    assert len(MlflowRegistry(config.tracking_uri).versions("blobs")) == 1


async def test_without_a_cluster_a_search_says_so(make_config):
    import ray

    if ray.is_initialized():
        pytest.skip("another module has started the shared cluster")
    with pytest.raises(ClusterError):
        await ModelTrainingPipeline(make_config(search=SEARCH)).train_model("exp")


async def test_a_search_is_seeded_and_kept_with_the_run(cluster, make_config):
    needed, said = [], []
    config = make_config(search=SEARCH)
    pipeline = ModelTrainingPipeline(
        config, ray_ready=lambda: needed.append(1), on_progress=said.append
    )
    one = await pipeline.train_model("exp")
    two = await ModelTrainingPipeline(replace(config, idempotency_key="key-2")).train_model("exp")
    assert needed == [1]
    assert sum(text.startswith("trial") for text in said) == 3
    assert one.model_version.digest == two.model_version.digest
    names = {file.path for file in open_client(config.tracking_uri).list_artifacts(one.run_id)}
    assert {"search.json", "bundle", "plots"} <= names


async def test_a_search_that_diverges_everywhere_says_so(cluster, make_config):
    space = {"learning_rate": {"low": 1e29, "high": 1e30, "log": True}}
    config = make_config(search={"trials": 2, "space": space})
    with pytest.raises(TrainingDiverged, match="all 2"):
        await ModelTrainingPipeline(config).train_model("exp")


CRASHING_ONCE = """
import os, pathlib, ray.train, torch
from torch import nn

class Net(nn.Module):
    def __init__(self, inputs, outputs, home):
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)
        self.marker = pathlib.Path(home) / "crashed"
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        worker = torch.distributed.is_initialized() and torch.distributed.get_rank() == 1
        if worker and self.calls > 60 and not self.marker.exists():
            self.marker.touch()
            os._exit(1)
        return self.layer(x)

def build(inputs, outputs, parameters):
    return Net(inputs, outputs, HOME)
"""


async def test_two_workers_survive_the_loss_of_one(cluster, make_config, tmp_path):
    source = CRASHING_ONCE.replace("HOME", repr(str(tmp_path)))
    (tmp_path / "crashing_net.py").write_text(source)
    config = make_config(family="crashing_net:build", num_workers=2)
    result = await ModelTrainingPipeline(config).train_model("exp")
    assert (tmp_path / "crashed").exists()
    assert result.metrics["accuracy"] > 0.9


async def test_an_error_in_a_worker_comes_back_with_its_reason(cluster, make_config):
    config = make_config(num_workers=1, parameters={"learning_rate": 1e30})
    with pytest.raises(TrainingError, match="no longer a number"):
        await ModelTrainingPipeline(config).train_model("exp")
