"""The conformance suite that every ``Registry`` passes.

Subclass it where pytest collects, and give it a fixture ``registry`` that is empty::

    class TestMine(RegistrySuite):
        @pytest.fixture
        def registry(self) -> Registry:
            return MyRegistry()
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from agentloop.contracts.errors import IllegalTransition, InvalidVersion, VersionNotFound
from agentloop.contracts.models import ModelVersion, Stage
from agentloop.lifecycle.registry import Registry
from agentloop.lifecycle.transitions import Trigger

FIRST, SECOND = "1.0.0-aaaaaaaa-bbbbbbbb", "1.1.0-aaaaaaaa-cccccccc"


def candidate(
    version: str = FIRST, model: str = "churn", tags: Mapping[str, str] | None = None
) -> ModelVersion:
    """A version as training hands it over."""
    return ModelVersion(
        model=model,
        version=version,
        stage=Stage.DEVELOPMENT,
        digest="d" * 64,
        artifact_uri="/somewhere/bundle",
        run_id="",
        data_version="data-1",
        metrics={"accuracy": 0.97, "log_loss": 0.1},
        tags=dict(tags or {"architecture": "mlp(64)"}),
        created_at="2026-01-01T00:00:00+00:00",
    )


class RegistrySuite:
    """One short test a promise of the port."""

    def test_a_registered_version_comes_back_whole(self, registry: Registry) -> None:
        registry.register(candidate(), "key")
        assert registry.get("churn", FIRST) == candidate()

    def test_one_key_registers_one_version(self, registry: Registry) -> None:
        first = registry.register(candidate(), "key")
        again = registry.register(candidate(SECOND), "key")
        assert again == first
        assert registry.versions("churn") == (first,)

    def test_the_same_key_of_another_model_is_another_key(self, registry: Registry) -> None:
        registry.register(candidate(), "key")
        other = registry.register(candidate(model="fraud"), "key")
        assert other.model == "fraud"
        assert len(registry.versions("churn")) == len(registry.versions("fraud")) == 1

    def test_a_number_is_never_given_twice(self, registry: Registry) -> None:
        registry.register(candidate(), "one")
        assert _raises(InvalidVersion, lambda: registry.register(candidate(), "two"))
        assert len(registry.versions("churn")) == 1

    def test_versions_come_oldest_first(self, registry: Registry) -> None:
        registry.register(candidate(SECOND), "one")
        registry.register(candidate(FIRST), "two")
        assert [v.version for v in registry.versions("churn")] == [SECOND, FIRST]

    def test_a_version_is_found_by_its_key(self, registry: Registry) -> None:
        registry.register(candidate(), 'it\'s "the" key; % _')
        found = registry.find("churn", 'it\'s "the" key; % _')
        assert found is not None
        assert found.version == FIRST
        assert registry.find("churn", "another") is None

    def test_an_unknown_model_is_empty_not_an_error(self, registry: Registry) -> None:
        assert registry.versions("nobody") == ()
        assert registry.find("nobody", "key") is None
        assert registry.alias("nobody", "champion") is None

    def test_an_unknown_version_is_an_error(self, registry: Registry) -> None:
        registry.register(candidate(), "key")
        for ask in (
            lambda: registry.get("churn", SECOND),
            lambda: registry.get("no'body", FIRST),
            lambda: registry.transition("churn", SECOND, Trigger.DATA_READY),
            lambda: registry.set_alias("churn", "champion", SECOND),
            lambda: registry.tag("churn", SECOND, "report", "{}"),
        ):
            assert _raises(VersionNotFound, ask)

    def test_a_transition_follows_the_table_and_is_kept(self, registry: Registry) -> None:
        registry.register(candidate(), "key")
        moved = registry.transition("churn", FIRST, Trigger.DATA_READY)
        assert moved.stage is Stage.TRAINING
        assert registry.get("churn", FIRST) == moved

    def test_an_illegal_transition_changes_nothing(self, registry: Registry) -> None:
        registry.register(candidate(), "key")
        assert _raises(
            IllegalTransition, lambda: registry.transition("churn", FIRST, Trigger.DEPLOYED)
        )
        assert registry.get("churn", FIRST).stage is Stage.DEVELOPMENT

    def test_an_alias_points_to_one_version_and_moves(self, registry: Registry) -> None:
        registry.register(candidate(), "one")
        registry.register(candidate(SECOND), "two")
        registry.set_alias("churn", "champion", FIRST)
        registry.set_alias("churn", "champion", SECOND)
        registry.set_alias("churn", "challenger", FIRST)
        champion, challenger = (
            registry.alias("churn", "champion"),
            registry.alias("churn", "challenger"),
        )
        assert champion is not None
        assert challenger is not None
        assert (champion.version, challenger.version) == (SECOND, FIRST)

    def test_an_alias_shows_the_version_as_it_is_now(self, registry: Registry) -> None:
        registry.register(candidate(), "key")
        registry.set_alias("churn", "champion", FIRST)
        registry.transition("churn", FIRST, Trigger.DATA_READY)
        champion = registry.alias("churn", "champion")
        assert champion is not None
        assert champion.stage is Stage.TRAINING

    def test_evidence_is_kept_beside_older_evidence(self, registry: Registry) -> None:
        registry.register(candidate(), "key")
        registry.tag("churn", FIRST, "gate.report", "x" * 20_000)
        tagged = registry.tag("churn", FIRST, "gate.approved", "true")
        expected = {"architecture": "mlp(64)", "gate.report": "x" * 20_000, "gate.approved": "true"}
        assert dict(tagged.tags) == expected
        assert registry.get("churn", FIRST) == tagged

    def test_registering_again_keeps_what_happened_since(self, registry: Registry) -> None:
        registry.register(candidate(), "key")
        registry.transition("churn", FIRST, Trigger.DATA_READY)
        assert registry.register(candidate(), "key").stage is Stage.TRAINING

    def test_a_registered_version_is_not_tied_to_its_candidate(self, registry: Registry) -> None:
        tags = {"a": "b"}
        registry.register(replace(candidate(), tags=tags), "key")
        tags["a"] = "changed"
        assert registry.get("churn", FIRST).tags["a"] == "b"


def _raises(kind: type[Exception], call: object) -> bool:
    assert callable(call)
    try:
        call()
    except kind:
        return True
    return False
