"""What one training needs to know."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from agentloop.contracts.codec import canonical_json
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
    def attempt_dir(self) -> Path:
        """Where attempts at this very training keep their state: other data or parameters under
        the same key do not find it."""
        identity = [self.spec.model_dump(mode="json"), self.split.model_dump(mode="json")]
        text = canonical_json([self.dataset.content_hash, self.code_version, *identity])
        return self.work_dir / hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def artifact_root(self) -> Path:
        """Where runs of a local tracking store keep their files."""
        return self.home / "artifacts"
