"""Compose, Terraform, Ansible: pinned, private, without passwords, and free of loose ends."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Load = Callable[[str], Any]
Tool = Callable[[str], str]


@pytest.mark.parametrize("folder", ["cluster", "infrastructure"])
def test_every_yaml_file_parses(folder: str, root: Path) -> None:
    files = [p for p in (root / folder).rglob("*") if p.suffix in (".yml", ".yaml")]
    assert files
    for path in files:
        assert list(yaml.safe_load_all(path.read_text())), path


# --- compose --------------------------------------------------------------------------------------


def test_images_are_pinned(load: Load, root: Path) -> None:
    for name, service in load("infrastructure/compose.yaml")["services"].items():
        if "build" in service:
            assert (root / "infrastructure" / service["build"]["context"] / "Dockerfile").is_file()
        else:
            tag = service["image"].rpartition(":")[2]
            assert re.search(r"\d", tag), name
            assert tag != "latest"


def test_nothing_listens_beyond_loopback(load: Load) -> None:
    for name, service in load("infrastructure/compose.yaml")["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
        if service.get("network_mode") == "host":
            listens = " ".join(service.get("command", [])) + str(service.get("environment", {}))
            assert "127.0.0.1" in listens, name
            assert "ports" not in service, name


def test_passwords_come_from_the_env_file_and_are_required(root: Path) -> None:
    text = (root / "infrastructure/compose.yaml").read_text()
    given = dict(
        line.split("=", 1)
        for line in (root / "infrastructure/.env.example").read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    assert used == given.keys()
    for name in used:
        assert not given[name], f"{name} has a default"
        assert not re.search(rf"\$\{{{name}(?!:\?)", text), f"{name} may be missing"


def test_mounted_files_exist(load: Load, root: Path) -> None:
    for service in load("infrastructure/compose.yaml")["services"].values():
        for volume in service.get("volumes", []):
            if volume.startswith("./"):
                assert (root / "infrastructure" / volume.split(":")[0]).exists(), volume


def test_mlflow_server_and_clients_are_one_version(root: Path) -> None:
    dockerfile = (root / "infrastructure/mlflow/Dockerfile").read_text()
    lock = {line.split(" ")[0] for line in (root / "requirements.lock").read_text().splitlines()}
    for name, version in re.findall(r"([\w-]+)(?:\[binary\])?==([\d.]+)", dockerfile):
        assert f"{name}=={version}" in lock


# --- terraform ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def terraform(root: Path) -> str:
    files = sorted((root / "infrastructure/terraform").glob("*.tf"))
    text = "\n".join(path.read_text() for path in files)
    return re.sub(r"(?m)^\s*#.*$", "", text)


def test_terraform_is_formatted_and_parses(root: Path, tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "rc").touch()
    environment = os.environ | {
        "TF_CLI_CONFIG_FILE": str(tmp_path / "rc"),
        "CHECKPOINT_DISABLE": "1",
    }
    for path in (root / "infrastructure/terraform").glob("*.tf"):
        # Through standard input: in a sandbox the files are links, which `fmt` passes over.
        outcome = subprocess.run(
            [tool("terraform"), "fmt", "-"],
            input=path.read_text(), env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert outcome.returncode == 0, outcome.stderr
        assert outcome.stdout == path.read_text(), f"next: terraform fmt {path.name}"


def test_terraform_names_only_what_it_declares(terraform: str) -> None:
    code = re.sub(r"(?m)^\s*description\s*=.*$", "", terraform)
    managed = {".".join(p) for p in re.findall(r'(?m)^resource "(\w+)" "(\w+)"', code)}
    read = {".".join(p) for p in re.findall(r'(?m)^data "(\w+)" "(\w+)"', code)}
    assert set(re.findall(r"\bdata\.(aws_\w+\.\w+)", code)) == read
    assert set(re.findall(r"(?<![\w.])(aws_\w+\.\w+)\b", code)) <= managed
    variables = set(re.findall(r'(?m)^variable "(\w+)"', code))
    assert set(re.findall(r"\bvar\.(\w+)", code)) == variables
    local = set(re.findall(r"\blocal\.(\w+)", code))
    blocks = re.findall(r"(?ms)^locals \{\n(.*?)^\}", code)
    assert local == set(re.findall(r"(?m)^  (\w+)\s*=", "".join(blocks)))


@pytest.mark.parametrize(
    "setting",
    [
        r'aws_s3_bucket_versioning".*?status = "Enabled"',
        r'sse_algorithm\s+= "aws:kms"',
        r"block_public_acls\s+= true",
        r"restrict_public_buckets\s+= true",
        r"storage_encrypted\s+= true",
        r"publicly_accessible\s+= false",
        r"deletion_protection\s+= true",
        r"manage_master_user_password\s+= true",
        r"enable_key_rotation\s+= true",
        r'http_tokens\s+= "required"',
        r"AL2023_x86_64_NVIDIA",
        r"enableNetworkPolicy",
        r"AssumeRoleWithWebIdentity",
    ],
)
def test_terraform_keeps_its_promises(setting: str, terraform: str) -> None:
    assert re.search(setting, terraform, re.DOTALL)


def test_terraform_trusts_the_service_account_of_the_manifests(terraform: str, load: Load) -> None:
    overlay = load("cluster/kuberay/overlays/prod/kustomization.yaml")
    assert '"system:serviceaccount:${var.namespace}:agentloop"' in terraform
    assert re.search(rf'"namespace".*?default\s+= "{overlay["namespace"]}"', terraform, re.DOTALL)


# --- ansible --------------------------------------------------------------------------------------

PLAYBOOK = "infrastructure/ansible/playbooks/mlops-setup.yml"


def test_every_task_is_named_and_uses_a_full_module_name(load: Load) -> None:
    collections = {
        c["name"] for c in load("infrastructure/ansible/requirements.yml")["collections"]
    }
    for play in load(PLAYBOOK):
        for task in play["tasks"]:
            assert task["name"]
            modules = [key for key in task if key.count(".") == 2]
            assert len(modules) == 1, task["name"]
            assert modules[0].rpartition(".")[0] in collections | {"ansible.builtin"}


def test_the_playbook_reads_files_that_exist(load: Load, root: Path) -> None:
    text = (root / PLAYBOOK).read_text()
    paths = re.findall(r"repo ~ '/([^']+)'( ~ item ~ '(\.\w+)')?", text)
    items = [i for play in load(PLAYBOOK) for task in play["tasks"]
             if isinstance(task.get("loop", [{}])[0], str) for i in task["loop"]]  # fmt: skip
    assert paths
    assert items
    for path, is_loop, suffix in paths:
        if is_loop:
            assert any((root / f"{path}{item}{suffix}").is_file() for item in items), path
        else:
            assert (root / path).exists(), path


def test_ansible_accepts_the_playbook(root: Path, tool: Tool) -> None:
    inventory = root / "infrastructure/ansible/inventory/hosts.example.yml"
    outcome = subprocess.run(
        [tool("ansible-playbook"), "--syntax-check", "-i", str(inventory), str(root / PLAYBOOK)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "couldn't resolve module" in outcome.stderr:
        pytest.skip("the collections of infrastructure/ansible/requirements.yml are not installed")
    assert outcome.returncode == 0, outcome.stderr
