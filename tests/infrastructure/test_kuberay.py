"""The manifests: valid for KubeRay, safe to run, and consistent with one another."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

Manifest = dict[str, Any]
Render = Callable[[str], list[Manifest]]
STACKS = ["overlays/dev", "overlays/prod", "overlays/prod-rayservice"]
JOBS = ["overlays/dev/job", "overlays/prod/job"]
RAY_KINDS = ["RayCluster", "RayJob", "RayService"]


def cluster_spec(manifests: list[Manifest]) -> Manifest:
    for manifest in manifests:
        if manifest["kind"] == "RayCluster":
            return manifest["spec"]
        if manifest["kind"] == "RayService":
            return manifest["spec"]["rayClusterConfig"]
    raise AssertionError("no Ray cluster")


def pods(manifests: list[Manifest]) -> Iterator[Manifest]:
    """Every pod template."""
    for manifest in manifests:
        spec = manifest.get("spec", {})
        if manifest["kind"] in ("RayCluster", "RayService"):
            cluster = cluster_spec([manifest])
            yield cluster["headGroupSpec"]["template"]
            yield from (group["template"] for group in cluster["workerGroupSpecs"])
        elif manifest["kind"] == "RayJob":
            yield spec["submitterPodTemplate"]
        elif manifest["kind"] == "Deployment":
            yield spec["template"]


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [m for m in manifests if m["kind"] == kind]


def selects(selector: Manifest, template: Manifest) -> bool:
    return selector.items() <= template["metadata"]["labels"].items()


@pytest.mark.parametrize("path", STACKS + JOBS)
def test_the_schema_accepts_every_ray_object(
    path: str, render: Render, crd: Callable[[str], Manifest]
) -> None:
    found = [m for m in render(path) if m["kind"] in RAY_KINDS]
    assert found
    for manifest in found:
        jsonschema.Draft202012Validator(crd(manifest["kind"])).validate(manifest)


def test_the_schema_refuses_a_field_that_kuberay_does_not_know(
    render: Render, crd: Callable[[str], Manifest]
) -> None:
    (cluster,) = of_kind(render("overlays/dev"), "RayCluster")
    container = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    container["livenessProb"] = container.pop("livenessProbe")
    with pytest.raises(jsonschema.ValidationError, match="livenessProb"):
        jsonschema.Draft202012Validator(crd("RayCluster")).validate(cluster)


@pytest.mark.parametrize("path", STACKS + JOBS)
def test_kubectl_renders_what_these_tests_check(
    path: str, render: Render, root: Path, tool: Callable[[str], str], tmp_path: Path
) -> None:
    kubectl = tool("kubectl")
    # Copied, since Kustomize refuses files that are links out of its root, as in a sandbox.
    shutil.copytree(root / "cluster/kuberay", tmp_path / "kuberay")
    outcome = subprocess.run(
        [kubectl, "kustomize", str(tmp_path / "kuberay" / path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr

    def key(manifest: Manifest) -> str:
        return json.dumps([manifest["kind"], manifest["metadata"]["name"]])

    rendered = list(yaml.safe_load_all(outcome.stdout))
    assert sorted(rendered, key=key) == sorted(render(path), key=key)


@pytest.mark.parametrize("path", STACKS)
def test_head_and_workers_start_with_the_same_measured_settings(path: str, render: Render) -> None:
    manifests = render(path)
    (environment,) = of_kind(manifests, "ConfigMap")
    expected = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_timeout_ms": "1000",
        "RAY_health_check_failure_threshold": "3",
    }
    assert expected.items() <= environment["data"].items()
    assert all(isinstance(value, str) for value in environment["data"].values())
    home = environment["data"]["AGENTLOOP_HOME"]
    for template in [
        p for p in pods(manifests) if p["metadata"]["labels"].get("agentloop.dev/role")
    ]:
        (container,) = template["spec"]["containers"]
        assert {"configMapRef": {"name": "agentloop-env"}} in container["envFrom"]
        assert home in [mount["mountPath"] for mount in container["volumeMounts"]]


@pytest.mark.parametrize("path", STACKS + JOBS)
def test_every_pod_meets_the_restricted_standard_and_says_what_it_needs(
    path: str, render: Render
) -> None:
    for template in pods(render(path)):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] >= 1000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]
            assert all(port.get("name") for port in container.get("ports", []))
            if "submit" not in template["metadata"]["labels"].values():
                assert container["readinessProbe"]
                assert container["livenessProbe"]


@pytest.mark.parametrize("path", STACKS + JOBS)
def test_no_secret_is_written_down(path: str, render: Render) -> None:
    manifests = render(path)
    assert not of_kind(manifests, "Secret")
    for template in pods(manifests):
        for container in template["spec"]["containers"]:
            for variable in container.get("env", []):
                assert not any(
                    w in variable["name"] for w in ("PASSWORD", "SECRET", "TOKEN", "URI")
                )


@pytest.mark.parametrize("path", STACKS)
def test_selectors_and_ports_meet_the_pods(path: str, render: Render) -> None:
    manifests = render(path)
    templates = list(pods(manifests))
    for service in of_kind(manifests, "Service"):
        hits = [t for t in templates if selects(service["spec"]["selector"], t)]
        assert hits, service["metadata"]["name"]
        for template in hits:
            names = {p["name"] for c in template["spec"]["containers"] for p in c["ports"]}
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    for kind in ("PodDisruptionBudget", "PodMonitor"):
        for manifest in of_kind(manifests, kind):
            selector = manifest["spec"]["selector"]["matchLabels"]
            assert any(selects(selector, t) for t in templates), manifest["metadata"]["name"]


@pytest.mark.parametrize("path", STACKS)
def test_clients_reach_the_edge_and_nothing_else(path: str, render: Render) -> None:
    (policy,) = of_kind(render(path), "NetworkPolicy")
    for rule in policy["spec"]["ingress"]:
        peers = json.dumps(rule["from"])
        if "agentloop.dev/client" in peers:
            assert [p["port"] for p in rule["ports"]] == [8700]
        else:
            assert rule["from"]
            assert "ports" in rule or "plane" in peers
    (service,) = [
        s for s in of_kind(render(path), "Service") if s["metadata"]["name"] == "agentloop"
    ]
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["edge"]


def test_a_ray_service_runs_the_same_pods_and_holds_no_weights(render: Render) -> None:
    (service,) = of_kind(render("overlays/prod-rayservice"), "RayService")
    assert not of_kind(render("overlays/prod-rayservice"), "RayCluster")
    assert service["spec"]["rayClusterConfig"] == cluster_spec(render("overlays/prod"))
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    assert config["applications"] == []
    assert config["http_options"]["host"] == "127.0.0.1"


@pytest.mark.parametrize(("job", "stack"), [*zip(JOBS, STACKS[:2], strict=True)])
def test_a_job_runs_on_the_standing_cluster_with_its_image(
    job: str, stack: str, render: Render
) -> None:
    (run,) = of_kind(render(job), "RayJob")
    (cluster,) = of_kind(render(stack), "RayCluster")
    assert run["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    assert run["metadata"]["namespace"] == cluster["metadata"]["namespace"]
    (submitter,) = run["spec"]["submitterPodTemplate"]["spec"]["containers"]
    head = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert submitter["image"] == head["image"]
    folder = yaml.safe_load(run["spec"]["runtimeEnvYAML"])["working_dir"]
    assert submitter["volumeMounts"][0]["mountPath"] == f"{folder}/loop.yaml"
    assert run["spec"]["entrypoint"] == "agentloop run loop.yaml"


def test_the_ray_version_is_the_locked_one(render: Render, root: Path) -> None:
    lock = (root / "requirements.lock").read_text().splitlines()
    version = cluster_spec(render("overlays/dev"))["rayVersion"]
    assert any(line.split(" ")[0] == f"ray=={version}" for line in lock)


def test_the_image_is_built_from_files_that_exist_and_runs_without_root(root: Path) -> None:
    text = (root / "cluster/image/Dockerfile").read_text()
    lines = text.replace("\\\n", " ").splitlines()
    allowed = (root / "cluster/image/Dockerfile.dockerignore").read_text().splitlines()
    copied = [w for line in lines if line.startswith("COPY ") and "--from" not in line
              for w in line.split()[1:-1]]  # fmt: skip
    assert copied
    assert {f"!{name}" for name in copied} <= set(allowed)
    assert [line for line in lines if line.startswith("USER ")] == ["USER 1000:1000"]
    assert "--compile-bytecode" in text
    assert all(
        line.startswith("FROM python:3.11-slim") for line in lines if line.startswith("FROM")
    )
