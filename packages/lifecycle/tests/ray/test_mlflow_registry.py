"""The MLflow registry keeps the same promises, and MLflow's own API shows what it knows."""

import multiprocessing
import threading

import pytest

from agentloop.contracts.errors import TrackingFailed
from agentloop.lifecycle.mlflow_registry import MlflowRegistry
from agentloop.lifecycle.mlflow_store import open_client, prepare_tracking
from agentloop.lifecycle.testing import FIRST, RegistrySuite, candidate
from agentloop.lifecycle.transitions import Trigger


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A migrated, empty store: making one takes 1.7 s, copying it nothing."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    prepare_tracking(f"sqlite:///{path}")
    return path.read_bytes()


@pytest.fixture
def uri(template, tmp_path):
    (tmp_path / "mlflow.db").write_bytes(template)
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


class TestMlflowRegistry(RegistrySuite):
    @pytest.fixture
    def registry(self, uri):
        return MlflowRegistry(uri)


def test_mlflow_itself_shows_stage_version_and_alias(uri):
    registry = MlflowRegistry(uri)
    registry.register(candidate(), "key")
    registry.transition("churn", FIRST, Trigger.DATA_READY)
    registry.set_alias("churn", "champion", FIRST)
    row = open_client(uri).get_model_version_by_alias("churn", "champion")
    assert row.tags["agentloop.stage"] == "Training"
    assert row.tags["agentloop.version"] == FIRST


def test_another_process_sees_the_same_truth(uri):
    MlflowRegistry(uri).register(candidate(), "key")
    assert MlflowRegistry(uri).get("churn", FIRST) == candidate()


def test_versions_that_others_registered_in_mlflow_are_left_alone(uri):
    client = open_client(uri)
    client.create_registered_model("churn")
    client.create_model_version("churn", source="/elsewhere", await_creation_for=0)
    assert MlflowRegistry(uri).versions("churn") == ()
    assert MlflowRegistry(uri).register(candidate(), "key").version == FIRST


def test_a_race_for_one_key_ends_with_one_version(uri):
    start = threading.Barrier(4)
    got = []

    def race():
        registry = MlflowRegistry(uri)
        registry.versions("churn")
        start.wait()
        got.append(registry.register(candidate(), "key"))

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert MlflowRegistry(uri).versions("churn") == (candidate(),)
    assert got == [candidate()] * 4


def test_a_kill_while_the_store_is_made_leaves_none(tmp_path):
    path = tmp_path / "mlflow.db"
    child = multiprocessing.get_context("spawn").Process(
        target=prepare_tracking, args=(f"sqlite:///{path}",)
    )
    child.start()
    while child.is_alive() and not list(tmp_path.glob(".mlflow.db.*")):
        child.join(0.01)
    child.kill()
    child.join()
    registry = MlflowRegistry(f"sqlite:///{path}")
    assert registry.register(candidate(), "key") == candidate()


def test_a_field_is_not_overwritten_as_evidence(uri):
    registry = MlflowRegistry(uri)
    registry.register(candidate(), "key")
    with pytest.raises(ValueError, match="field"):
        registry.tag("churn", FIRST, "agentloop.stage", "Production")


def test_a_store_that_cannot_be_opened_is_a_tracking_failure(tmp_path):
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"not a database, but long enough to be taken for one" * 50)
    with pytest.raises(TrackingFailed, match="failed"):
        MlflowRegistry(f"sqlite:///{path}").versions("churn")
