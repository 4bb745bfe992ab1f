"""A version's record and profile, from its folder or, where that is gone, from git."""

from __future__ import annotations

import json
from pathlib import Path

from agentloop.contracts.codec import from_dict
from agentloop.contracts.data import DataProfile, DatasetVersion
from agentloop.data.checkout_failed import CheckoutFailed
from agentloop.data.git_repo import GitRepo
from agentloop.data.version_store import VersionStore


def find_version(data_dir: Path, name: str, version: str) -> tuple[DatasetVersion, DataProfile]:
    """Of a version that was accepted. Raises VersioningFailed if neither place has it."""
    store = VersionStore(data_dir, name)
    record, profile = store.find(version), store.profile(version)
    if record is not None and profile is not None:
        return record, profile
    uri = str(data_dir.resolve() / "versions" / name / version)
    return pinned_version(GitRepo(data_dir.resolve() / "repo"), name, version, uri)


def pinned_version(
    git: GitRepo, name: str, version: str, uri: str
) -> tuple[DatasetVersion, DataProfile]:
    """What the tag of a version says of it. Raises CheckoutFailed if there is none, or it is not
    whole."""
    tag = f"{name}/{version}"
    revision = git.tag_commit(tag)
    if not revision:
        raise CheckoutFailed(f"its folder is gone, and git has no tag {tag}")
    try:
        texts = [
            git.show(revision, f"datasets/{name}.{noun}.json") for noun in ("version", "profile")
        ]
        record, profile = (json.loads(text or "") for text in texts)
        found = from_dict(DatasetVersion, {**record, "uri": uri, "revision": revision})
        return found, from_dict(DataProfile, profile)
    except ValueError:
        raise CheckoutFailed(f"{tag} is not whole in git") from None
