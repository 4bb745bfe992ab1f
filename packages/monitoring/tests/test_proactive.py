from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from agentloop.contracts import DriftReport, Forecast, MonitoringReport
from agentloop.monitoring import ProactiveMonitoring
from agentloop.monitoring.anomalies import find_anomalies
from agentloop.monitoring.forecast import RESOURCES, forecast_saturation

DISK = RESOURCES[0]
HOURS = [3600.0 * i for i in range(24)]
ALARM = DriftReport("flowers", "1.0.0", "now", 5000, 0.3, True, (), ("x0 left",))


def test_steady_growth_is_predicted_with_confidence() -> None:
    used = [0.5 + 0.015 * i for i in range(24)]
    found = forecast_saturation(DISK, HOURS, used, 86_400)
    assert found is not None
    assert found.confidence > 0.8
    assert found.in_seconds == pytest.approx(7 * 3600 + 1920, rel=0.35)


def test_noise_without_trend_is_not_acted_on() -> None:
    used = 0.5 + 0.01 * np.random.default_rng(0).normal(size=24)
    found = forecast_saturation(DISK, HOURS, used.tolist(), 86_400)
    assert found is None or found.confidence < 0.5


def test_full_disk_is_certain() -> None:
    found = forecast_saturation(DISK, [0.0], [0.97], 86_400)
    assert found == Forecast("disk full", 1.0, 0.0, found.message if found else "")


def test_few_samples_predict_nothing() -> None:
    assert forecast_saturation(DISK, HOURS[:4], [0.1, 0.3, 0.6, 0.9], 86_400) is None


def test_anomalies_name_limits_outliers_and_drift() -> None:
    past = {"p99_ms": [20.0 + i % 3 for i in range(30)]}
    found = find_anomalies({"p99_ms": 90.0, "disk_used_share": 0.99}, past, [ALARM])
    assert [sentence.split()[0] for sentence in found] == ["disk_used_share", "p99_ms", "flowers"]


async def test_cycle_acts_above_the_threshold_and_reports(tmp_path: Path) -> None:
    times = iter([datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=i) for i in range(100)])
    moment = [next(times)]
    level = [0.5]
    sent: list[MonitoringReport] = []
    monitoring = ProactiveMonitoring(
        tmp_path,
        now=lambda: moment[0],
        system=lambda: {"disk_used_share": level[0]},
        traffic=lambda: {"error_rate": 0.0},
        drift=lambda: [ALARM],
        actions={"disk full": lambda issue: "old runs were removed", "drift": _retrain},
        notify=sent.append,
    )
    for _ in range(12):
        report = await monitoring.run_monitoring_cycle()
        moment[0], level[0] = next(times), level[0] + 0.03
    assert "disk full: old runs were removed" in report.actions
    assert "drift:flowers: a retrain was asked for" in report.actions
    assert report.metrics == {"disk_used_share": pytest.approx(0.83), "error_rate": 0.0}
    assert sent[-1] == report
    written = json.loads((tmp_path / "monitoring" / ".last-report.json").read_text())
    assert written["at"] == report.at


async def _retrain(issue: Forecast) -> str:
    return "a retrain was asked for"


async def test_failing_action_is_reported_not_raised(tmp_path: Path) -> None:
    def broken(issue: Forecast) -> str:
        raise RuntimeError("no quota")

    monitoring = ProactiveMonitoring(
        tmp_path,
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        system=lambda: {"disk_used_share": 0.99},
        actions={"disk full": broken},
    )
    report = await monitoring.run_monitoring_cycle()
    assert report.actions == ("disk full: the action failed (RuntimeError('no quota'))",)


async def test_this_machine_can_be_measured(tmp_path: Path) -> None:
    monitoring = ProactiveMonitoring(tmp_path / "new", now=lambda: datetime.now(UTC))
    metrics = await monitoring.collect_system_metrics()
    shares = [v for k, v in metrics.items() if k.endswith("share")]
    assert len(shares) == 3
    assert all(0 <= share <= 1 for share in shares)
