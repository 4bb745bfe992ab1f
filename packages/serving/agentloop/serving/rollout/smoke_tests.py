"""What a staged version must answer by its private route before it may see traffic."""

from __future__ import annotations

import json
from collections.abc import Callable

from agentloop.contracts.traffic import StagedModel
from agentloop.serving.naming import private_path
from agentloop.serving.ports import HttpAnswer

Call = Callable[[str, bytes | None], HttpAnswer]

MALFORMED = b'{"inputs": [NaN'


def smoke_test(call: Call, staged: StagedModel, body: bytes) -> tuple[str, ...]:
    """The failures, one sentence each; none is a pass. ``body`` is a sound V2 request."""
    base = private_path(staged.model, staged.version)
    model = f"{base}/v2/models/{staged.model}"
    failures = []
    ready = call(f"{base}/v2/health/ready", None)
    if ready.status != 200:
        failures.append(f"ready answers {ready.status}")
    metadata = call(model, None)
    if metadata.status != 200 or _field(metadata, "name") != staged.model:
        failures.append(f"metadata answers {metadata.status}")
    answer = call(f"{model}/infer", body)
    if answer.status != 200 or not _field(answer, "outputs"):
        failures.append(f"a held-out row answers {answer.status}: {_field(answer, 'error')}")
    if answer.headers.get("x-model-version") != staged.version:
        failures.append("the answer does not name this version")
    malformed = call(f"{model}/infer", MALFORMED)
    if not 400 <= malformed.status < 500:
        failures.append(f"a malformed body answers {malformed.status}, not 4xx")
    return tuple(failures)


def _field(answer: HttpAnswer, name: str) -> object:
    try:
        return json.loads(answer.body).get(name)
    except (ValueError, AttributeError):
        return None
