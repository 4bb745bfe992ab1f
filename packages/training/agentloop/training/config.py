"""What one training needs to know."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from agentloop.contracts.data import DatasetVersion
from agentloop.contracts.spec import ModelSpec, SplitSpec

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """One model to train on one dataset version, registered once per ``idempotency_key``.

    ``home`` is the state folder; ``base_dir`` the folder of loop.yaml, where the module of a
    ``module:callable`` family is looked for first. ``code_version`` and ``lock_hash`` are
    recorded with the run, so that it can be reproduced.
    """

    model: str
    spec: ModelSpec
    dataset: DatasetVersion
    split: SplitSpec
    idempotency_key: str
    tracking_uri: str
    home: Path
    base_dir: Path
    code_version: str = ""
    lock_hash: str = ""

    @property
    def work_dir(self) -> Path:
        """Where this key's search result, checkpoints and bundle are kept between attempts."""
        key = self.idempotency_key
        plain = _PLAIN.fullmatch(key) is not None
        return self.home / "training" / (key if plain else hashlib.sha256(key.encode()).hexdigest())

    @property
    def artifact_root(self) -> Path:
        """Where runs of a local tracking store keep their files."""
        return self.home / "artifacts"
