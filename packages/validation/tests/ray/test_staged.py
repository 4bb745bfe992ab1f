"""The gate against a replica over real HTTP (the package's fake one)."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agentloop.contracts import GateSpec, ModelVersion, ValidationReport
from agentloop.lifecycle import MemoryRegistry, open_signer
from agentloop.validation import Candidate, FakeReplica, ModelValidationPipeline, open_candidate


async def validate(folder: Path, version: ModelVersion, replica: FakeReplica) -> ValidationReport:
    pipeline = ModelValidationPipeline(
        GateSpec(sensitive=("site",)),
        registry=MemoryRegistry(),
        signer=open_signer(folder / "keys"),
        stage=replica.stage,
        reports=folder / "reports",
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
    )
    return await pipeline.validate_model(version)


def checks(report: ValidationReport, suite: str) -> dict[str, Any]:
    return {check.name: check for check in report.test_results[suite].checks}


@pytest.mark.parametrize("regression", [False, True])
async def test_sound_replica_is_approved(
    make_version: Callable[..., ModelVersion], tmp_path: Path, regression: bool
) -> None:
    version = make_version(regression=regression)
    with FakeReplica(open_candidate(version)[1], version.version) as replica:
        started = time.perf_counter()
        report = await validate(tmp_path, version, replica)
        seconds = time.perf_counter() - started
    assert report.deployment_approved, report.reasons
    assert {c.passed for c in checks(report, "integration").values()} == {True}
    assert checks(report, "performance")["latency_p99_ms"].samples > 10
    assert checks(report, "performance")["throughput_rps"].value > 0
    print({name: round(r.seconds, 2) for name, r in report.test_results.items()}, seconds)


async def test_replica_of_another_version_is_rejected(
    make_version: Callable[..., ModelVersion], candidate: Candidate, tmp_path: Path
) -> None:
    with FakeReplica(candidate, "0.0.1") as replica:
        report = await validate(tmp_path, make_version(), replica)
    assert not report.deployment_approved
    assert checks(report, "integration")["version_header"].passed is False


async def test_replica_that_answers_otherwise_is_rejected(
    make_version: Callable[..., ModelVersion], candidate: Candidate, tmp_path: Path
) -> None:
    with FakeReplica(candidate, "1.0.0", break_answers=0.001) as replica:
        report = await validate(tmp_path, make_version(), replica)
    assert checks(report, "integration")["infer"].passed is False
    assert not report.deployment_approved


async def test_dead_replica_is_a_rejection_not_a_crash(
    make_version: Callable[..., ModelVersion], candidate: Candidate, tmp_path: Path
) -> None:
    with FakeReplica(candidate, "1.0.0") as replica:
        stopped = replica
    report = await validate(tmp_path, make_version(), stopped)
    assert report.test_results["integration"].passed is False
    assert checks(report, "performance")["latency_p99_ms"].passed is None
