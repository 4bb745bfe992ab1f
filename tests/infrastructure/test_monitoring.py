"""Alert rules, their routes, and the dashboards: real tools where they are installed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

PROMETHEUS = "infrastructure/prometheus"
RULES = ["model_alerts.yml", "performance_alerts.yml"]
DASHBOARDS = ["model_performance", "system_health", "business_metrics"]
EXPECTED_ALERTS = {
    "ModelDriftDetected", "ModelAccuracyDrop", "ModelDown", "NoTraffic", "HighInferenceLatency",
    "HighErrorRate", "RayNodeDown", "RayNodeHighCpu", "RayNodeHighMemory", "RayNodeDiskFull",
}  # fmt: skip
Load = Callable[[str], Any]
Tool = Callable[[str], str]


def rules(load: Load) -> list[dict[str, Any]]:
    files = [load(f"{PROMETHEUS}/{name}") for name in RULES]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def run(*command: str, cwd: Path) -> str:
    outcome = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


def test_every_expected_alert_is_there(load: Load) -> None:
    assert {rule["alert"] for rule in rules(load) if "alert" in rule} == EXPECTED_ALERTS


def test_the_drift_rule_is_the_literal_one(load: Load) -> None:
    (rule,) = [r for r in rules(load) if r.get("alert") == "ModelDriftDetected"]
    assert (rule["expr"], rule["for"]) == ("model_drift_score > 0.1", "5m")


def test_every_alert_says_how_bad_it_is_and_where_to_read_on(load: Load, root: Path) -> None:
    for rule in rules(load):
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("warning", "critical")
            assert rule["for"]
            notes = rule["annotations"]
            assert notes["summary"]
            assert notes["description"]
            assert (root / notes["runbook_url"]).is_file(), notes["runbook_url"]
            assert rule["alert"] in (root / "docs/runbooks/README.md").read_text()


def test_rules_use_metrics_that_exist(load: Load, unknown: Callable[..., set[str]]) -> None:
    recorded = frozenset(rule["record"] for rule in rules(load) if "record" in rule)
    for rule in rules(load):
        assert unknown(rule["expr"], recorded) == set(), rule


def test_the_check_of_names_sees_a_misspelt_metric_and_a_foreign_label(
    unknown: Callable[..., set[str]],
) -> None:
    assert unknown("rate(model_inference_request_total[5m])") == {"model_inference_request_total"}
    assert unknown('model_accuracy{endpoint="x"}') == {"model_accuracy{endpoint}"}
    assert unknown("sum by (use_case) (model_drift_score)") == {"use_case"}


def test_prometheus_accepts_its_configuration(root: Path, tool: Tool) -> None:
    run(tool("promtool"), "check", "config", "prometheus.yml", cwd=root / PROMETHEUS)


def test_alerts_fire_when_they_should_and_only_then(root: Path, tool: Tool) -> None:
    tests = [name.replace(".yml", "_test.yml") for name in RULES]
    run(tool("promtool"), "test", "rules", *tests, cwd=root / PROMETHEUS)


def test_both_scrape_lists_use_the_jobs_that_the_rules_select(load: Load, root: Path) -> None:
    static = {job["job_name"] for job in load(f"{PROMETHEUS}/prometheus.yml")["scrape_configs"]}
    monitor = load("cluster/kuberay/overlays/prod/podmonitor.yaml")
    pods = {
        relabel["replacement"]
        for endpoint in monitor["spec"]["podMetricsEndpoints"]
        for relabel in endpoint["relabelings"]
        if relabel["targetLabel"] == "job"
    }
    for jobs in (static, pods):
        assert "agentloop" in jobs
        assert any(re.fullmatch("ray.*", job) for job in jobs)


def test_critical_alerts_reach_the_one_on_call(root: Path, tool: Tool) -> None:
    config = str(root / "infrastructure/alertmanager/alertmanager.yml")
    amtool = tool("amtool")
    run(amtool, "check-config", config, cwd=root)
    for severity, receiver in (("critical", "on-call"), ("warning", "team")):
        command = ("config", "routes", "test", f"--config.file={config}", f"severity={severity}")
        assert run(amtool, *command, cwd=root).split() == [receiver]


def test_alertmanager_takes_every_secret_from_a_file(load: Load) -> None:
    text = json.dumps(load("infrastructure/alertmanager/alertmanager.yml"))
    assert "https://" not in text
    assert "api_url_file" in text


# --- dashboards -----------------------------------------------------------------------------------


def dashboard(root: Path, name: str) -> dict[str, Any]:
    path = root / f"infrastructure/grafana/dashboards/{name}_dashboard.json"
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def expressions(board: dict[str, Any]) -> Iterator[str]:
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield target["expr"]
    for annotation in board["annotations"]["list"]:
        yield annotation["expr"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_have_their_own_id_and_place(name: str, root: Path) -> None:
    board = dashboard(root, name)
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    cells: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        mine = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & mine, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= mine


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_ask_for_metrics_that_exist(
    name: str, root: Path, unknown: Callable[..., set[str]]
) -> None:
    board = dashboard(root, name)
    for expression in expressions(board):
        assert unknown(expression) == set(), expression
    variables = {v["name"] for v in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", " ".join(expressions(board))))
    assert used - variables <= {"__rate_interval", "__range"}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_prometheus_can_parse_every_panel(
    name: str, root: Path, tool: Tool, tmp_path: Path
) -> None:
    asked = [
        re.sub(r"\$\{?\w+\}?", "x", re.sub(r"\$__\w+", "5m", expression))
        for expression in expressions(dashboard(root, name))
    ]
    group = [{"record": f"panel:{i}", "expr": expression} for i, expression in enumerate(asked)]
    (tmp_path / "panels.yml").write_text(
        yaml.safe_dump({"groups": [{"name": name, "rules": group}]})
    )
    run(tool("promtool"), "check", "rules", "panels.yml", cwd=tmp_path)


def test_grafana_provisions_the_sources_that_the_dashboards_use(root: Path, load: Load) -> None:
    home = "infrastructure/grafana/provisioning"
    sources = load(f"{home}/datasources/datasources.yaml")["datasources"]
    assert {source["type"] for source in sources} == {"prometheus", "jaeger"}
    folder = load(f"{home}/dashboards/dashboards.yaml")["providers"][0]["options"]["path"]
    mounts = load("infrastructure/compose.yaml")["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{folder}:ro" in mounts
