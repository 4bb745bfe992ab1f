"""Does a model answer as it should after its traffic was moved?"""

from __future__ import annotations

import time
from collections.abc import Sequence

from agentloop.serving.rollout.smoke_tests import Call

TRIES = 5
WAIT_SECONDS = 0.2


def check_health(call: Call, model: str, version: str, bodies: Sequence[bytes]) -> str:
    """What is wrong with ``version`` on the public route, in a sentence; empty for nothing.

    Tried a few times, for replicas may just have been started or have been busy.
    """
    trouble = ""
    for attempt in range(TRIES):
        trouble = _look(call, model, version, bodies)
        if not trouble:
            return ""
        if attempt + 1 < TRIES:
            time.sleep(WAIT_SECONDS)
    return trouble


def _look(call: Call, model: str, version: str, bodies: Sequence[bytes]) -> str:
    ready = call(f"/v2/models/{model}/ready", None)
    if ready.status != 200:
        return f"ready answers {ready.status}"
    for body in bodies[:1]:
        answer = call(f"/v2/models/{model}/infer", body)
        if answer.status != 200:
            return f"a held-out row answers {answer.status}"
        said = answer.headers.get("x-model-version")
        if said != version:
            return f"a held-out row is answered by {said}"
    return ""
