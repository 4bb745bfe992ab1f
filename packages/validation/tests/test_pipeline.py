from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agentloop.contracts import (
    ArtifactUnverified,
    GateSpec,
    ModelVersion,
    SignedReport,
    from_dict,
)
from agentloop.lifecycle import MemoryRegistry, open_signer, verify_report
from agentloop.validation import SUITES, ModelValidationPipeline, render_html, report_paths

LOCAL = ("performance", "robustness", "data_drift")


def pipeline(folder: Path, champion: ModelVersion | None = None, **kwargs: Any) -> Any:
    registry = MemoryRegistry()
    if champion is not None:
        registry.register(champion, champion.version)
        registry.set_alias(champion.model, "champion", champion.version)
    return ModelValidationPipeline(
        kwargs.pop("spec", GateSpec()),
        registry=registry,
        signer=open_signer(folder / "keys"),
        stage=None,
        reports=folder / "reports",
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        required=LOCAL,
        **kwargs,
    )


async def test_report_has_every_suite_and_is_written(
    make_version: Callable[..., ModelVersion], tmp_path: Path
) -> None:
    version = make_version()
    report = await pipeline(tmp_path).validate_model(version)
    assert tuple(report.test_results) == SUITES
    assert report.deployment_approved
    paths = report_paths(tmp_path / "reports", "cancer", "1.0.0")
    signed = from_dict(SignedReport, json.loads(paths.signed.read_text()))
    key = open_signer(tmp_path / "keys").public_key
    assert verify_report(signed, key, version.digest) == report
    assert json.loads(paths.json.read_text())["deployment_approved"] is True
    assert paths.html.read_text().count("<svg") == 3
    assert sorted(p.name for p in paths.html.parent.iterdir()) == sorted(
        p.name for p in (paths.signed, paths.json, paths.html)
    )


async def test_same_bundle_is_judged_the_same_way_twice(
    make_version: Callable[..., ModelVersion], tmp_path: Path
) -> None:
    first, second = [
        await pipeline(tmp_path / name).validate_model(make_version()) for name in "ab"
    ]
    for name in SUITES:
        assert first.test_results[name].checks == second.test_results[name].checks


async def test_worse_than_the_champion_is_rejected(
    make_version: Callable[..., ModelVersion], tmp_path: Path
) -> None:
    worse = make_version("1.1.0", flip=0.9)
    spec = GateSpec(min_accuracy=0.1)
    report = await pipeline(tmp_path, make_version(), spec=spec).validate_model(worse)
    assert not report.deployment_approved
    assert any("champion_difference failed" in reason for reason in report.reasons)


async def test_champion_that_is_gone_is_not_measured(
    make_version: Callable[..., ModelVersion], tmp_path: Path
) -> None:
    gone = dataclasses.replace(make_version(), version="0.9.0", artifact_uri=str(tmp_path / "x"))
    report = await pipeline(tmp_path, gone).validate_model(make_version())
    checks = {c.name: c for c in report.test_results["performance"].checks}
    assert checks["champion_difference"].samples == 0
    assert "cannot be run" in checks["champion_difference"].message


async def test_without_staging_the_default_policy_approves_nobody(
    make_version: Callable[..., ModelVersion], tmp_path: Path
) -> None:
    strict = pipeline(tmp_path)
    strict._required = (*LOCAL, "integration")
    report = await strict.validate_model(make_version())
    assert report.test_results["integration"].passed is None
    assert not report.deployment_approved


async def test_regression_is_validated_too(
    make_version: Callable[..., ModelVersion], tmp_path: Path
) -> None:
    version = make_version("2.0.0", regression=True)
    champion = make_version("1.0.0", regression=True)
    report = await pipeline(tmp_path, champion).validate_model(version)
    assert report.deployment_approved, report.reasons


@pytest.mark.parametrize("harm", ["model.onnx", "holdout.parquet"])
async def test_changed_bundle_is_refused_and_nothing_written(
    make_version: Callable[..., ModelVersion], tmp_path: Path, harm: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(make_version().artifact_uri, copy)
    (copy / harm).write_bytes(b"harm")
    spoilt = dataclasses.replace(make_version(), artifact_uri=str(copy))
    with pytest.raises(ArtifactUnverified, match=harm):
        await pipeline(tmp_path).validate_model(spoilt)
    assert not (tmp_path / "reports").exists()


async def test_html_escapes_what_came_from_data(
    make_version: Callable[..., ModelVersion], tmp_path: Path
) -> None:
    report = await pipeline(tmp_path).validate_model(make_version())
    hostile = dataclasses.replace(report, reasons=("<script>alert(1)</script>",))
    assert "<script>" not in render_html(hostile, {})


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = (
        "import sys, agentloop.validation;"
        "heavy = {'ray', 'torch', 'mlflow', 'pandas', 'pyarrow', 'onnxruntime', 'evidently'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
