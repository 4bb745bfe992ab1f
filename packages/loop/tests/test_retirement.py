"""Only the champion and the version before it stay live."""

from __future__ import annotations

from agentloop.contracts import ModelVersion, Stage
from agentloop.lifecycle import MemoryRegistry
from agentloop.loop.retirement import archive_replaced


def filled(*stages: Stage) -> MemoryRegistry:
    registry = MemoryRegistry()
    for number, stage in enumerate(stages):
        version = ModelVersion("m", f"1.{number}.0", stage, "d", "/x", "r", "v")
        registry.register(version, f"key-{number}")
    return registry


def test_older_live_versions_are_archived() -> None:
    registry = filled(Stage.MONITORING, Stage.PRODUCTION, Stage.MONITORING, Stage.MONITORING)
    registry.set_alias("m", "champion", "1.3.0")
    registry.set_alias("m", "previous", "1.2.0")
    assert [v.version for v in archive_replaced(registry, "m")] == ["1.0.0", "1.1.0"]
    stages = [v.stage for v in registry.versions("m")]
    assert stages == [Stage.ARCHIVED, Stage.ARCHIVED, Stage.MONITORING, Stage.MONITORING]
    assert archive_replaced(registry, "m") == ()


def test_without_a_champion_nothing_is_archived() -> None:
    assert archive_replaced(filled(Stage.MONITORING), "m") == ()


def test_a_version_that_never_went_live_keeps_its_stage() -> None:
    registry = filled(Stage.DEVELOPMENT, Stage.MONITORING)
    registry.set_alias("m", "champion", "1.1.0")
    assert archive_replaced(registry, "m") == ()
