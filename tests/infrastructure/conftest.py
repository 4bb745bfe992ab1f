"""Where the files under test lie, and the tools that some tests need."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml

# Not resolved: in Bazel's sandbox the files are links, and only the links lie side by side.
ROOT = next(p for p in Path(__file__).absolute().parents if (p / "pyproject.toml").exists())
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Manifest = dict[str, Any]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def load() -> Callable[[str], Any]:
    """The one YAML document of a file, by its path from the root."""
    return lambda path: yaml.load((ROOT / path).read_text(), LOADER)


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """The path of a program that may be absent; the test is skipped then."""

    def find(name: str) -> str:
        found = shutil.which(name)
        return found or pytest.skip(f"{name} is not installed")

    return find


# What the platform, Ray and Prometheus export, with the labels that rules and panels may use.
NODE = frozenset({"ip", "SessionName", "IsHeadNode", "RayNodeType"})
CLUSTER = frozenset({"node_type", "SessionName"})
METRICS = {
    "model_inference_requests_total": frozenset({"model_version", "endpoint", "status"}),
    "model_inference_duration_seconds_bucket": frozenset({"model_version", "endpoint", "le"}),
    "model_drift_score": frozenset({"model_version", "drift_type"}),
    "model_accuracy": frozenset({"model_version", "dataset"}),
    "business_value_generated": frozenset({"model_version", "use_case", "value_type"}),
    "ray_node_cpu_utilization": NODE,
    "ray_node_cpu_count": NODE,
    "ray_node_mem_used": NODE,
    "ray_node_mem_total": NODE,
    "ray_node_disk_utilization_percentage": NODE,
    "ray_node_network_receive_speed": NODE,
    "ray_node_network_send_speed": NODE,
    "ray_node_gpus_utilization": NODE | {"GpuDeviceName", "GpuIndex"},
    "ray_node_gram_used": NODE | {"GpuDeviceName", "GpuIndex"},
    "ray_node_gram_available": NODE | {"GpuDeviceName", "GpuIndex"},
    "ray_component_uss_bytes": frozenset({"ip", "pid", "Component", "SessionName"}),
    "ray_cluster_failed_nodes": CLUSTER,
    "ray_cluster_pending_nodes": CLUSTER,
    "ray_serve_deployment_replica_healthy": frozenset({"deployment", "application"}),
    "up": frozenset(),
    "ALERTS": frozenset({"alertname", "alertstate", "model_version"}),
}
SCRAPED = {"job", "instance"}
KEYWORDS = {
    "by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless",
    "offset", "bool",
}  # fmt: skip
DURATION = r"\[[^\]]*\]|\b\d+[smhdw]\b"


def unknown_names(promql: str, also: frozenset[str] = frozenset()) -> set[str]:
    """Metrics of ``promql`` that nobody exports, and labels that its metrics do not have."""
    text = re.sub(r"\$\{?\w+\}?", "", promql)
    matched = re.findall(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}", text)
    wrong = {
        f"{metric}{{{label}}}"
        for metric, matchers in matched
        for label in re.findall(r"(\w+)\s*[!=]~?", re.sub(r'"[^"]*"', "", matchers))
        if metric in METRICS and label not in METRICS[metric] | SCRAPED
    }
    bare = re.sub(r'"[^"]*"|\{[^}]*\}', " ", text)
    grouped = r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)"
    metrics = re.findall(
        r"(?<![\w:])[a-zA-Z_:][\w:]*(?!\s*\(|[\w:])",
        re.sub(DURATION, " ", re.sub(grouped, " ", bare)),
    )
    used = {m for m in metrics if m not in KEYWORDS}
    labels = {"model_version"} if used & also else set()
    labels |= set().union(*(METRICS[m] for m in used & METRICS.keys()), SCRAPED)
    for _, names in re.findall(grouped, bare):
        wrong |= {n.strip() for n in names.split(",") if n.strip() and n.strip() not in labels}
    return wrong | (used - METRICS.keys() - also)


@pytest.fixture(scope="session")
def unknown() -> Callable[..., set[str]]:
    return unknown_names


@pytest.fixture(scope="session")
def crd() -> Callable[[str], Manifest]:
    """KubeRay's schema of a kind, closed: unknown fields are errors, not pruned in silence."""
    home = Path(os.environ.get("AGENTLOOP_CHECKOUT", ROOT)).parent / "shared"
    folder = Path(os.environ.get("AGENTLOOP_SHARED") or home) / "crds"

    def schema(kind: str) -> Manifest:
        file = folder / f"ray.io_{kind.lower()}s.yaml"
        if not file.exists():
            pytest.skip("KubeRay's CRDs are not here: set AGENTLOOP_SHARED")
        versions = yaml.load(file.read_text(), LOADER)["spec"]["versions"]
        v1 = next(v for v in versions if v["name"] == "v1")
        closed: Manifest = _closed(v1["schema"]["openAPIV3Schema"])
        return closed

    return schema


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields")
    if (
        isinstance(schema.get("properties"), dict)
        and schema.get("type") == "object"
        and not is_open
    ):
        closed.setdefault("additionalProperties", False)
    return closed


@pytest.fixture(scope="session")
def render() -> Callable[[str], list[Manifest]]:
    """What `kubectl kustomize cluster/kuberay/<path>` prints, for the part of Kustomize in use."""
    return lambda path: _render(ROOT / "cluster/kuberay" / path, [])


def _render(folder: Path, inherited: list[Manifest]) -> list[Manifest]:
    spec = yaml.safe_load((folder / "kustomization.yaml").read_text())
    known = {
        "apiVersion", "kind", "namespace", "resources", "components", "patches", "images",
        "replacements",
    }  # fmt: skip
    assert set(spec) <= known, f"{folder}: teach this renderer {set(spec) - known}"
    manifests = list(inherited)
    for entry in spec.get("resources", []):
        path = folder / entry
        manifests += _render(path, []) if path.is_dir() else _documents(path)
    for entry in spec.get("components", []):
        manifests = _render(folder / entry, manifests)
    for patch in spec.get("patches", []):
        manifests = list(_patched(manifests, patch, folder))
    for manifest in manifests:
        if "namespace" in spec and manifest["kind"] != "Namespace":
            manifest["metadata"]["namespace"] = spec["namespace"]
    for image in spec.get("images", []):
        _rename_image(manifests, image["name"], f"{image['newName']}:{image['newTag']}")
    for replacement in spec.get("replacements", []):
        _replace(manifests, replacement)
    return manifests


def _documents(path: Path) -> Iterator[Manifest]:
    # Through jsonpatch, anchors would be one object in several places.
    for document in yaml.safe_load_all(path.read_text()):
        yield yaml.load(yaml.dump(document, Dumper=_NoAliases), LOADER)


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _patched(manifests: list[Manifest], patch: Manifest, folder: Path) -> Iterator[Manifest]:
    text = (folder / patch["path"]).read_text() if "path" in patch else patch["patch"]
    body = yaml.safe_load(text)
    deletes = isinstance(body, dict) and body.get("$patch") == "delete"
    target = (
        {"kind": body["kind"], "name": body["metadata"]["name"]} if deletes else patch["target"]
    )
    hits = [m for m in manifests if _is(m, target)]
    assert hits, f"{folder}: nothing to patch for {target}"
    for manifest in manifests:
        if manifest not in hits:
            yield manifest
        elif not deletes:
            yield jsonpatch.apply_patch(manifest, body)


def _is(manifest: Manifest, target: Manifest) -> bool:
    return (manifest["kind"], manifest["metadata"]["name"]) == (target["kind"], target["name"])


def _rename_image(node: Any, name: str, new: str) -> None:
    if isinstance(node, dict):
        if isinstance(node.get("image"), str) and re.fullmatch(rf"{name}(:.*)?", node["image"]):
            node["image"] = new
        node = list(node.values())
    for child in node if isinstance(node, list) else []:
        _rename_image(child, name, new)


def _replace(manifests: list[Manifest], replacement: Manifest) -> None:
    source = next(m for m in manifests if _is(m, replacement["source"]))
    for target in replacement["targets"]:
        for manifest in filter(lambda m: _is(m, target["select"]), manifests):
            for path in target["fieldPaths"]:
                *parents, last = path.split(".")
                node = manifest
                for parent in parents:
                    node = node[parent]
                node[last] = source[replacement["source"]["fieldPath"]]
