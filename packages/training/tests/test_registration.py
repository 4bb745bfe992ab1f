import pytest

from agentloop.contracts import Stage
from agentloop.lifecycle import MemoryRegistry
from agentloop.training import Candidate, ModelRegistry


def trained(change="improvement", architecture="mlp(64)"):
    return Candidate(
        model="churn",
        change=change,
        architecture=architecture,
        data_hash="a" * 64,
        parameters_hash="b" * 64,
        data_version="data-1",
        digest="d" * 64,
        artifact_uri="/bundle",
        run_id="run",
        metrics={"accuracy": 0.9},
        tags={"seed": "0"},
        created_at="2026-01-01T00:00:00+00:00",
    )


@pytest.mark.parametrize(
    ("change", "architecture", "number"),
    [
        ("improvement", "mlp(64)", "1.1.0"),
        ("bugfix", "mlp(64)", "1.0.1"),
        ("bugfix", "mlp(32)", "2.0.0"),
    ],
)
def test_numbers_follow_the_change(change, architecture, number):
    registry = ModelRegistry(MemoryRegistry())
    first = registry.register_model(trained(), "one")
    second = registry.register_model(trained(change, architecture), "two")
    assert first.version == "1.0.0-aaaaaaaa-bbbbbbbb"
    assert second.version == f"{number}-aaaaaaaa-bbbbbbbb"


def test_one_key_is_one_version():
    memory = MemoryRegistry()
    registry = ModelRegistry(memory)
    assert registry.register_model(trained(), "one") == registry.register_model(trained(), "one")
    assert len(memory.versions("churn")) == 1


def test_a_trained_version_waits_for_validation():
    version = ModelRegistry(MemoryRegistry()).register_model(trained(), "one")
    assert version.stage is Stage.VALIDATION
    assert version.tags == {"seed": "0", "architecture": "mlp(64)", "change": "architecture"}
